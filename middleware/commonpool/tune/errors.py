"""What stops a `commonpool tune`."""

from __future__ import annotations


class TuneError(Exception):
    """It cannot go on. The message is one line, and what follows it the end of a log."""
