"""The watcher: one thread that keeps deadlines, started with the first of them."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger("commonpool")

# As asyncio does with its timers (base_events.py): what was cancelled stays in the heap until it
# is more than half of a heap that is worth the trouble.
FEWEST_CANCELLED = 100


class Watch:
    """One moment to watch for, and what to do then."""

    __slots__ = ("action", "watcher")

    def __init__(self, watcher: Watcher, action: Callable[[], None]) -> None:
        self.watcher = watcher
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget it. What is cancelled too late runs all the same."""
        self.watcher.forget(self)


class Watcher:
    """Runs actions at moments of the clock, on one daemon thread.

    Guarantees:
        It has no thread before the first `at`, and never more than one.
        An action runs at its moment or later, never before, and once.
        An action that raises is logged; the others run all the same.

    It does not promise to be in time while another action runs: actions are short.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Entered again where a garbage collection inside it ends a connection's transaction, which
        # asks for a watch.
        self._lock = threading.RLock()
        self._awake = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, Watch]] = []
        self._order = count()
        self._cancelled = 0
        self._thread: threading.Thread | None = None
        self._wakes_at = -math.inf  # until when the thread sleeps; -inf while it is awake
        self._closed = False
        self._told = False  # that there is no thread to be had

    def at(self, moment: float, action: Callable[[], None]) -> Watch:
        """Run an action once the clock has reached `moment` (seconds on the clock)."""
        watch = Watch(self, action)
        with self._lock:
            heapq.heappush(self._heap, (moment, next(self._order), watch))
            thread = None
            if self._thread is None and not self._closed:
                made = threading.Thread(target=self._keep, name="commonpool-watcher", daemon=True)
                self._thread = self._thread or made  # a collection in there may have made one
                thread = made if self._thread is made else None
            elif moment < self._wakes_at:
                self._awake.notify()
        if thread is not None:
            self._start(thread)
        return watch

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:  # no more threads to be had, or the interpreter is ending
            with self._lock:
                self._thread = None
                told, self._told = self._told, True
            if told:
                return
            log.warning(
                "no thread for the watcher (%s): deadlines are kept by callers alone", error
            )

    def forget(self, watch: Watch) -> None:
        """Cancel a watch that `at` returned; no error when it has run or was cancelled before."""
        with self._lock:
            if watch.action is None:
                return
            watch.action = None
            self._cancelled += 1
            if self._cancelled > FEWEST_CANCELLED and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in list(self._heap) if entry[2].action is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def runs_here(self) -> bool:
        """Whether this is the watcher's thread."""
        return threading.current_thread() is self._thread

    def close(self, timeout: float) -> None:
        """Stop the thread; wait up to `timeout` seconds for it. Nothing is run any more."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._awake.notify()
            thread = self._thread
        # without an ident it has not been started yet, and cannot be joined; it will end at once
        if thread is None or thread.ident is None or thread is threading.current_thread():
            return
        thread.join(timeout)

    def _keep(self) -> None:
        while True:
            with self._lock:
                due = self._due()
                if not due:
                    if self._closed:
                        return
                    self._sleep()
                    continue
            for action in due:
                try:
                    action()
                except BaseException:  # SystemExit too: the deadlines of all depend on this thread
                    log.exception("the watcher could not do what was due")
            del due, action  # what it refers to must not live until the next deadline

    def _due(self) -> list[Callable[[], None]]:
        """Take out of the heap what is due now."""
        now = self._clock()
        due: list[Callable[[], None]] = []
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].action is None):
            watch = heapq.heappop(self._heap)[2]
            if watch.action is None:
                self._cancelled -= 1
            else:
                due.append(watch.action)
                watch.action = None
        return due

    def _sleep(self) -> None:
        """Sleep until the first moment in the heap, or until an earlier one comes."""
        self._wakes_at = self._heap[0][0] if self._heap else math.inf
        wait = self._wakes_at - self._clock()
        self._awake.wait(None if wait == math.inf else min(max(wait, 0.0), threading.TIMEOUT_MAX))
        self._wakes_at = -math.inf
