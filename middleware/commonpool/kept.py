"""Kept: tasks that their caller runs itself, one after another, until one of them takes long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from commonpool.task import FanOut, Task
from commonpool.watcher import Watcher

# Seconds that a caller which runs tasks itself may be in one of them until workers are called for
# the others: far above what a task takes that is known to be short.
CALL_AFTER = 0.02


class Kept:
    """The tasks of a fan-out that its caller keeps; it takes the first of them, again and again.

    Attributes:
        fan_out: theirs.
        tasks: those that nobody has begun.
        begun: when the caller has begun the task that it is in.
        ended: whether the caller is done with them; what is left is its fan-out's again.
    """

    __slots__ = ("begun", "ended", "fan_out", "tasks")

    def __init__(self, fan_out: FanOut, tasks: list[Task], begun: float) -> None:
        self.fan_out = fan_out
        self.tasks = deque(tasks)
        self.begun = begun
        self.ended = False


class Keeping:
    """What callers keep at this moment.

    Guarantees:
        What a caller keeps while it is in a task for longer than `CALL_AFTER` is handed over, soon
        after that.
        What its caller is done with is not handed over.
        Nothing is watched while nothing is kept.

    Args:
        watcher: looks at what is kept, each `CALL_AFTER` seconds.
        clock: seconds, monotonic.
        hand_over: is given what has taken long, on the watcher's thread.
    """

    def __init__(
        self,
        watcher: Watcher,
        clock: Callable[[], float],
        hand_over: Callable[[Kept], None],
    ) -> None:
        self._watcher = watcher
        self._clock = clock
        self._hand_over = hand_over
        self._all: dict[Kept, None] = {}
        self._watched = False
        self._lock = threading.Lock()

    def add(self, kept: Kept) -> None:
        """A caller is about to run what it keeps."""
        self._all[kept] = None
        if not self._watched:
            self._watch()

    def remove(self, kept: Kept) -> None:
        """It is done with that."""
        self._all.pop(kept, None)

    def _watch(self) -> None:
        with self._lock:
            if self._watched:
                return
            self._watched = True
        self._watcher.at(self._clock() + CALL_AFTER, self._look)

    def _look(self) -> None:
        # In this order: what is added from here on has itself watched, or is seen below.
        self._watched = False
        now = self._clock()
        for kept in list(self._all):
            if kept.tasks and now - kept.begun >= CALL_AFTER:
                self._hand_over(kept)
        if self._all:
            self._watch()
