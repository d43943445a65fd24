"""PoolStats: the numbers that explain a pool, in one piece and in one line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """The pool's state at one moment, and what it has done since it was made.

    Attributes:
        max_workers: how many workers there may be.
        workers: threads started and not ended.
        busy: workers that run a task, have been promised one, or are on their way to the queue.
        idle: workers that sleep.
        abandoned: busy workers whose result nobody wants any more.
        max_queue: how many tasks may wait.
        queued: tasks that hold a waiting place.
        owners_waiting: owners whose tasks those are.
        run_by_workers: tasks that workers started.
        run_by_callers: tasks that callers ran themselves.
        rejected: tasks refused because there was no room (`PoolSaturated`).
        cancelled: tasks that were taken back before they started.
        failed: tasks that raised, those aside that nobody wanted any more.
        coroutines: tasks that are under way on an event loop, or wait for their turn on it.
        offloaded: calls that other processes run, or that wait for one of those.
        closed: whether the pool takes no more tasks (their callers run them).
    """

    max_workers: int
    workers: int
    busy: int
    idle: int
    abandoned: int
    max_queue: int
    queued: int
    owners_waiting: int
    run_by_workers: int
    run_by_callers: int
    rejected: int
    cancelled: int
    failed: int
    coroutines: int
    offloaded: int
    closed: bool

    def __str__(self) -> str:
        """The whole in one line."""
        return (
            f"{self.workers} of {self.max_workers} workers started "
            f"({self.busy} busy, {self.idle} idle, {self.abandoned} abandoned), "
            f"{self.queued} of {self.max_queue} waiting places taken "
            f"by {self.owners_waiting} owners, "
            f"{self.run_by_workers} tasks run by workers, {self.run_by_callers} by callers, "
            f"{self.rejected} rejected, {self.cancelled} cancelled, {self.failed} failed"
            f"{f', {self.coroutines} coroutines' if self.coroutines else ''}"
            f"{f', {self.offloaded} offloaded' if self.offloaded else ''}"
            f"{', closed' if self.closed else ''}"
        )
