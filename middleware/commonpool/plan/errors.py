"""What stops a `commonpool plan`."""

from __future__ import annotations


class PlanError(Exception):
    """It could not look. The message is one line, and says what to do."""
