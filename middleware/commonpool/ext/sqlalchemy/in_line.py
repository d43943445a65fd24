"""In line: who waits for a connection of a pool has one before those that ask later.

SQLAlchemy's pool wakes the thread that has waited longest, but keeps the connection for nobody: a
thread that gives one back and asks for the next has it again before the other is awake. With more
request threads than connections some wait for as long as the load lasts, and then for an error.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from sqlalchemy.util.queue import Empty, Queue

if TYPE_CHECKING:
    from sqlalchemy import Pool


# Seconds after which a connection is given to others, though a thread was woken for it.
PATIENCE = 1.0


def keep_in_line(pool: Pool) -> None:
    """Have the connections of a pool given in the order in which they are asked for.

    To call it again changes nothing. Pools in which nobody waits are left alone.

    Args:
        pool: it may be in use.
    """
    queue = getattr(pool, "_pool", None)  # of a QueuePool: it has no public name
    if type(queue) is not Queue:
        return
    with queue.mutex:
        if type(queue) is Queue:
            queue._line = deque()  # type: ignore[attr-defined]  # noqa: SLF001 - what it is from now on
            queue.__class__ = ConnectionsInLine


class ConnectionsInLine(Queue[Any]):
    """What a pool keeps its idle connections in.

    Guarantees:
        Who asks for a connection while others wait has one after them.
        Nobody waits while a connection is idle.
        Nobody waits longer than the pool's timeout.
        Who stops waiting leaves the connection that was given to it to the next.
    """

    _line: deque[_Place]
    _serving = False
    # Of the idle connections, those for threads that have waited since before there was a line, and
    # were woken; and when the last of them was.
    _announced = 0
    _announced_at = 0.0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """As in the class above, in line."""
        with self.mutex:
            if not block or not self._line:
                if self._has_one():
                    return self._take()
                if not block:
                    raise Empty
        place = _Place()
        try:
            with self.mutex:
                self._line.append(place)
                self._serve()
            place.wait(timeout)
            with self.mutex:
                if place.item:
                    return place.item[0]
                self._line.remove(place)
        except BaseException:
            self._leave(place)
            raise
        raise Empty

    def _leave(self, place: _Place) -> None:
        with self.mutex:
            if place.item:
                self._put(place.item.pop())
                self.not_empty.notify()
            elif place in self._line:
                self._line.remove(place)

    def _full(self) -> bool:
        return 0 < self.maxsize <= len(self.queue)  # one more where somebody has left the line

    def _put(self, item: Any) -> None:
        super()._put(item)
        if self.not_empty._waiters:  # type: ignore[attr-defined]  # noqa: SLF001 - the next is woken
            self._announced += 1
            self._announced_at = time.monotonic()
        else:
            self._serve()

    def _get(self) -> Any:
        """What somebody takes who was woken."""
        self._announced = max(self._announced - 1, 0)
        return super()._get()

    def _take(self) -> Any:
        """What is taken in line."""
        return super()._get()

    def _has_one(self) -> bool:
        """Whether there is a connection for those in line."""
        if self._announced and time.monotonic() - self._announced_at > PATIENCE:
            self._announced = 0  # who was woken for it has failed (Ctrl-C)
        return len(self.queue) > self._announced

    def _serve(self) -> None:
        """Give what is there to those that wait; the mutex is held."""
        # A garbage collection may give a connection back in the midst of this, in this thread.
        if self._serving:
            return
        self._serving = True
        try:
            while self._line and self._has_one():
                self._line.popleft().give(self._take())
        finally:
            self._serving = False


class _Place:
    """A place in the line."""

    def __init__(self) -> None:
        self.item: list[Any] = []  # what was given to it
        self._gate = threading.Lock()
        self._gate.acquire()

    def give(self, item: Any) -> None:
        self.item.append(item)
        self._gate.release()

    def wait(self, timeout: float | None) -> bool:
        return self._gate.acquire(timeout=-1 if timeout is None else timeout)
