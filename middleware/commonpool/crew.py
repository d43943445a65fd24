"""The workers: which sleep, which are on their way to the queue, and how a new one is started."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import count

from commonpool.budget import Budget
from commonpool.task import Task

# Seconds after which nobody relies on a worker that is on its way: it takes microseconds, and on a
# machine that is choked some hundredths of a second; but Ctrl-C can come between the choice of a
# worker and its waking.
LONG_WAY = 1.0

log = logging.getLogger("commonpool")


class Worker:
    """A thread of the pool.

    Attributes:
        name: of its thread.
        gate: the lock on which it sleeps.
        thread: its thread; `None` until it was started.
        task: what it runs, or has been promised.
        summoned: whether it is on its way to the queue.
        roused_at: when it was woken, if it has not come since; 0 where it was started instead.
        securing: whether it is taking the share of a budget that its task needs.
        readmits: the budget of which it has given a share back, which a task that was put off is
            to have in its next turn.
    """

    __slots__ = ("gate", "name", "readmits", "roused_at", "securing", "summoned", "task", "thread")

    def __init__(self, name: str) -> None:
        self.name = name
        self.gate = threading.Lock()
        self.gate.acquire()
        self.thread: threading.Thread | None = None
        self.task: Task | None = None
        self.summoned = False
        self.roused_at = 0.0
        self.securing = False
        self.readmits: Budget | None = None


class Crew:
    """All workers of a pool, of which the last to fall asleep is the first to be woken.

    Guarantees:
        There are never more than `most`.
        A thread is started only when no worker sleeps.
        At most one worker is on its way to the queue: it calls the next one when it is there, so
        that one wake-up serves many tasks, and a burst does not wake everyone at once.

    The pool holds its lock around every call but `rouse`.

    Args:
        most: how many workers there may be.
        work: what a worker's thread runs.
        clock: seconds, monotonic.
    """

    def __init__(
        self, most: int, work: Callable[[Worker], None], clock: Callable[[], float]
    ) -> None:
        self.most = most
        self.members: dict[Worker, None] = {}
        self.idle: list[Worker] = []
        self._work = work
        self._clock = clock
        self._on_their_way = 0
        self._summoned_at = 0.0
        self._names = count(1)
        self.closing = False  # from when on it is no news that there are no more threads
        self._warned = False

    def free(self) -> Worker | None:
        """Choose a worker that does nothing: one that sleeps, or else a new one."""
        if self.idle:
            return self.idle.pop()
        if len(self.members) < self.most:
            worker = Worker(f"commonpool-{next(self._names)}")
            self.members[worker] = None
            return worker
        return None

    @property
    def expecting(self) -> bool:
        """Whether a worker is on its way to the queue."""
        return self._on_their_way > 0

    def summon(self) -> Worker | None:
        """Choose a worker for the queue, unless one is on its way there."""
        now = self._clock()
        if now - self._summoned_at >= LONG_WAY:
            self._on_their_way = 0
        if self._on_their_way:
            return None
        worker = self.free()
        if worker is not None:
            worker.summoned = True
            self._on_their_way += 1
            self._summoned_at = now
        return worker

    def arrived(self, worker: Worker) -> None:
        """A worker is at the queue: the next one may be summoned."""
        if worker.summoned:
            worker.summoned = False
            self._on_their_way = max(0, self._on_their_way - 1)

    def rest(self, worker: Worker) -> None:
        """A worker found nothing to do, and will sleep."""
        self.idle.append(worker)

    def leave(self, worker: Worker) -> None:
        """A worker ends, or could not be started."""
        self.arrived(worker)
        del self.members[worker]
        if worker in self.idle:  # its thread was ended between its turn and its sleep
            self.idle.remove(worker)

    def rouse(self, worker: Worker) -> bool:
        """Wake a chosen worker, or start its thread; whether that was possible."""
        if worker.thread is not None:
            worker.roused_at = self._clock()
            worker.gate.release()
            return True
        thread = threading.Thread(target=self._work, args=(worker,), name=worker.name, daemon=True)
        worker.thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # no more to be had (ulimit, cgroup), or the exit has begun
            if not self._warned and not self.closing:
                self._warned = True
                log.warning("cannot start a worker (%s): callers run their tasks themselves", error)
            return False
        return True
