"""What `commonpool doctor` finds in a chain: checks, one for each finding, and a picture.

Nothing here reads a file or asks a server: `commonpool.chain` does. Nothing changes anything.
"""

from commonpool.doctor.examine import CHECKS, examine
from commonpool.doctor.findings import Finding, Level

__all__ = ["CHECKS", "Finding", "Level", "examine"]
