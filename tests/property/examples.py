"""How many examples the property-based tests try: ``PROPERTY_EXAMPLES=20000`` for a long look."""

from __future__ import annotations

import os

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "500"))
