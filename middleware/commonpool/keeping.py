"""Keeping: callers that run short tasks themselves are watched, in case one of them takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from commonpool.kept_task import KeptTask
from commonpool.watcher import Watcher

# Seconds between two looks at what callers keep: far above what a task takes that is known to be
# short.
CALL_AFTER = 0.02


class Keeping:
    """What callers keep at this moment.

    Guarantees:
        What a caller keeps while it is in one task for two looks, or takes long for all of them
        together, is handed over.
        Nothing is watched while nothing is kept.

    Args:
        watcher: looks at what is kept, each `CALL_AFTER` seconds.
        hand_over: is given what has taken long, on the watcher's thread.
        is_long: whether so many seconds are long for all tasks of a fan-out together.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        watcher: Watcher,
        hand_over: Callable[[KeptTask], None],
        is_long: Callable[[float], bool],
        clock: Callable[[], float],
    ) -> None:
        self._watcher = watcher
        self._hand_over = hand_over
        self._is_long = is_long
        self._clock = clock
        self._all: dict[KeptTask, None] = {}
        self._watched = False
        self._lock = threading.Lock()

    def add(self, kept: KeptTask) -> None:
        """A caller is about to run what it keeps."""
        self._all[kept] = None
        if not self._watched:
            self._watch()

    def remove(self, kept: KeptTask) -> None:
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
            done = len(kept.values)
            if kept.seen is None:
                kept.seen = now, done
            elif done == kept.seen[1] or self._is_long(now - kept.seen[0]):
                self._hand_over(kept)
            else:
                kept.seen = kept.seen[0], done
        if self._all:
            self._watch()
