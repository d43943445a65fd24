"""The thread that tells servers to stop statements; it is there while there is one to stop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger("commonpool")


class StopQueue:
    """Does one thing after another, on a daemon thread that ends when there is nothing to do.

    Talking to a server can take seconds, which the watcher has not got.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: deque[Callable[[], None]] = deque()
        self._is_there = False

    def do(self, action: Callable[[], None]) -> None:
        """Have it done soon; what it raises is logged. Never blocks."""
        with self._lock:
            self._actions.append(action)
            if self._is_there:
                return
            self._is_there = True
        try:
            threading.Thread(target=self._work, name="commonpool-stopper", daemon=True).start()
        except RuntimeError as error:  # no more threads to be had, or the interpreter is ending
            with self._lock:
                self._is_there = False
                self._actions.clear()
            log.warning("no thread to stop statements with (%s)", error)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._actions:
                    self._is_there = False
                    return
                action = self._actions.popleft()
            try:
                action()
            except BaseException:
                log.exception("a statement could not be stopped")
            del action
