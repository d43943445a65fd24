"""What the tests of the watcher have it look at, and count its threads with."""

from __future__ import annotations

import threading

from commonpool.watcher import Watcher


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def look(watcher: Watcher) -> None:
    """Have the watcher look at its clock, and come back when it has done all that was due."""
    for _ in range(2):  # what is due together runs in any order: the second look comes after all
        seen = threading.Event()
        watcher.at(-1.0, seen.set)
        assert seen.wait(2)


def watchers() -> int:
    return sum(thread.name == "commonpool-watcher" for thread in threading.enumerate())
