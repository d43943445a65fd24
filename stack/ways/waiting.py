"""What the ways wait for: a sleep that counts who sleeps, and that Ctrl-C cuts short."""

from __future__ import annotations

import threading

over = threading.Event()
"""Set when the program is to end."""


class Waits:
    """Waiting times, and how many of them passed at a time.

    Attributes:
        peak: the most at a time, so far.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self.peak = 0

    def __call__(self, seconds: float) -> None:
        """Wait as `time.sleep` does: other threads run meanwhile."""
        with self._lock:
            self._inside += 1
            self.peak = max(self.peak, self._inside)
        try:
            over.wait(seconds)
        finally:
            with self._lock:
                self._inside -= 1
