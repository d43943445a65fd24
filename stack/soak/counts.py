"""What this worker process has counted, besides the pool."""

from __future__ import annotations

import logging
import threading
from collections import Counter


class Counts:
    """Counters that threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._numbers[name] += number

    def get(self) -> dict[str, int]:
        """All of them, at one moment."""
        with self._lock:
            return dict(self._numbers)


counts = Counts()

FOLDER = "STACK_SOAK_FOLDER"
"""The variable with the folder where an ending process leaves its counts."""

UNHEARD = ("fail_unread", "fail_in_background")


class CountingHandler(logging.Handler):
    """Counts the log records that tell of a failure which nobody asked for."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record."""
        # an abandoned task is named in a warning, too, while it runs: that has no error to it
        if record.exc_info and any(name in record.getMessage() for name in UNHEARD):
            counts.add("logged unheard")
