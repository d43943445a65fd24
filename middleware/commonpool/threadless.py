"""ThreadlessTask: a task that needs no thread while it waits, a coroutine say; and its future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commonpool.task import SETTLED, Task, TaskFuture


class ThreadlessTask(Task):
    """A task that something else runs than a worker or a caller: an event loop.

    Guarantees:
        It is begun once, or run once by its caller where nothing else can.
        It tells its pool once that it is done, by `CommonPool.finish_threadless`.
    """

    is_threadless = True
    stop_reason = ""  # why it was asked to stop; "" if it was not

    @property
    def where(self) -> str:
        """On what it runs."""
        return "the event loop"

    def can_begin(self) -> bool:
        """Whether there is something that will run it."""
        raise NotImplementedError

    def begin(self) -> None:
        """Have it run. Never waits."""
        raise NotImplementedError

    def hurry(self) -> None:
        """A thread waits for it: have it run now, if it is waiting for others to end."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Nobody wants its result any more (`Stopper`). Called on any thread; never waits."""
        raise NotImplementedError

    def stop(self, reason: str) -> None:
        """Have it end soon, because of something else that has happened. Never waits."""
        self.stop_reason = reason
        self.abandon()

    def close(self) -> None:
        """It will not be begun."""

    def stack(self) -> str:
        """Where it waits, as a traceback shows it; "" if it does not wait."""
        raise NotImplementedError

    def check_may_wait(self) -> None:
        """Raise `RuntimeError` where this thread would have to wait for itself."""


class ThreadlessFuture(TaskFuture):
    """The future of a threadless task. Cancelling it stops the task, begun or not."""

    _task: ThreadlessTask | None
    _has_callbacks = False

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have `fn` called with this future when it is done; see `concurrent.futures.Future`."""
        self._has_callbacks = True
        super().add_done_callback(fn)

    @property
    def has_callbacks(self) -> bool:
        """Whether code of a user is called when it is done."""
        return self._has_callbacks

    def cancel(self) -> bool:
        """Stop the task, unless it is done; whether it is cancelled now."""
        task = self._task
        if task is None or self.cancelled():
            return self.cancelled()
        return task.fan_out.owner.pool.stop_threadless(task)

    def _help(self, timeout: float | None) -> None:
        task = self._task
        if task is not None and task.state is not SETTLED:
            task.fan_out.owner.pool.check_process()
            task.check_may_wait()
            if timeout is None or timeout > 0:
                task.hurry()
            if timeout is None:  # this thread may be needed for what the task waits for
                task.fan_out.owner.pool.help(task.fan_out, until=task)
        del self, task  # the traceback of its error leads to this frame
