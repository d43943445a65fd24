"""StagedTask: work with parts that only its caller's thread may do, between calls that any may."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from commonpool.errors import DeadlineExceeded, PoolSaturated, WrongThread
from commonpool.task import RUNNING, SETTLED, UNSTARTED, FanOut, Task, TaskFuture, running

if TYPE_CHECKING:
    from commonpool.pool import CommonPool


# How many staged tasks of a fan-out are on their way at a time: each holds a stack of its own.
MOST_BEGUN = 256

# How much deeper than `run_staged` itself what it calls adds to the queue, at most.
CALLS_TO_ADD = 6


class Progress(Enum):
    """How far a staged task has come, when it has not left a call to be made."""

    DONE = "its value or its error is there"
    IN_TURN = "it goes on when all before it are done"


class Call(Task):
    """A call that a staged task has to have made before it can go on, by a worker or its caller.

    Whatever it raises is for the staged task to deal with, so it is kept in `failure`: as a task
    it succeeds.
    """

    failure: BaseException | None = None

    # Not kept as `Task` keeps its function: a method of its own would be a cycle, with the rows
    # in it for as long as no garbage is collected.
    def __init__(self) -> None:
        pass

    @property
    def fn(self) -> Callable[[], Any]:  # type: ignore[override]
        """What is called."""
        return self.make

    @property
    def raised(self) -> BaseException | None:
        """Its failure."""
        return self.failure

    def make(self) -> Any:
        """Make the call; its value. Keeps its failure."""
        raise NotImplementedError

    def reserve(self) -> bool:
        """Make sure that a worker will be able to make it; whether that is so."""
        return True


class StagedTask(Task):
    """Work that goes on, from call to call, on the thread that it belongs to.

    Guarantees:
        Its own parts run on one thread, in the caller's context, and once.

    Attributes:
        thread: the ident of that thread.
        call: what it needs to go on.
    """

    call: Call | None = None

    def __init__(self, fn: Any) -> None:
        super().__init__(fn)
        self.thread = threading.get_ident()

    @property
    def raised(self) -> BaseException | None:
        """What it has raised, or the call has that it needs to go on."""
        if self.call is None or self.state is SETTLED:
            return self.error
        return self.call.failure

    def configure(self, settings: dict[str, Any]) -> None:
        """Take what `run_in_parallel` was given for tasks of this kind.

        Raises:
            TypeError: this kind of task knows nothing of such a setting.
        """
        for name, value in settings.items():
            if value is not None:
                raise TypeError(f"{name}= means nothing to {self.name}")

    def prepare(self) -> None:
        """Called once, on its thread, when it has its fan-out, before the first `advance`."""

    def _advance(self) -> Call | Progress:
        """Go on as far as possible; what has to be called next. Keeps its value or its error."""
        raise NotImplementedError

    def close(self) -> None:
        """Its fan-out is over, at its end or not. Doing it again changes nothing."""

    def advance(self) -> Call | Progress:
        """Go on, as the task that this thread runs; what has to be called next.

        Raises:
            WrongThread: this is not its thread.
        """
        if threading.get_ident() != self.thread:
            raise WrongThread(
                f"{self.name} was asked for in thread {self.thread}, whose session makes the "
                f"objects of its result; this is thread {threading.get_ident()} "
                f"({threading.current_thread().name}). Call result() there."
            )
        outer, running.task = running.task, self
        try:
            progress = self._advance()
        finally:
            running.task = outer
        if isinstance(progress, Call):
            self.call = progress
        return progress

    def finish_here(self) -> None:
        """Go on to the end, with all calls made on this thread."""
        while self.state is not SETTLED:
            progress = self.advance()
            if isinstance(progress, Call):
                progress.fan_out = self.fan_out
                progress.run()
                if progress.error is not None:
                    raise progress.error
            elif progress is Progress.DONE:
                self.state = SETTLED
                self.call = None


class StagedFuture(TaskFuture):
    """The future of a staged task: done when its first call is, and finished by `result`."""

    def __init__(self, staged: StagedTask, task: Task) -> None:
        super().__init__(task)
        self._staged = staged

    @property
    def staged(self) -> StagedTask:
        """What it is the future of."""
        return self._staged

    def result(self, timeout: float | None = None) -> Any:
        """What the task returned; makes it, on the thread that the task belongs to.

        Raises:
            WrongThread: this is another thread.
            TimeoutError: the time passed before the call was done.
            TaskCancelled, DeadlineExceeded, PoolClosed: as for every future.
        """
        super().result(timeout)
        return self._finished()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or `None`; otherwise as `result`."""
        error = super().exception(timeout)
        if error is not None:
            return error
        try:
            self._finished()
        except WrongThread:
            raise
        except BaseException as failure:
            return failure
        return None

    # Once its call is over the call lets go of it: it leads back here, with all the rows.

    def settle(self, task: Task) -> None:
        """Hand what the call gave to everyone who waits (called once, by the pool)."""
        if isinstance(task, Call) and task.failure is not None:
            self.keep_unread(task, task.failure)
            self._staged.unread = task.unread
        super().settle(task)
        task.future = None

    def set_cancelled(self, why: str) -> None:
        """Tell everyone who waits that the call will not be made (called once, by the pool)."""
        self._let_go()
        super().set_cancelled(why)

    def give_up(self, error: Exception) -> None:
        """Tell everyone who waits that nobody waits for the call (called once, by the pool)."""
        self._let_go()
        super().give_up(error)

    def cancel_unsubmitted(self) -> None:
        """Tell whoever listens that the call, which never was in a queue, will not be made."""
        if not self.done():
            self.set_cancelled("It was not submitted.")

    def _let_go(self) -> None:
        if self._task is not None:
            self._task.future = None

    def _finished(self) -> Any:
        staged = self._staged
        call = staged.call
        try:
            staged.finish_here()
            if call is not None:
                self.mark_read(call.failure)
            if staged.error is not None:
                raise staged.error
            return staged.value
        finally:
            del self, staged, call  # the traceback of its error leads to this frame


def submit_staged(pool: CommonPool, fan_out: FanOut, task: StagedTask) -> TaskFuture:
    """Begin a staged task here, and have its first call made by a worker, or at once here.

    Raises:
        DeadlineExceeded: the fan-out's deadline has passed.
        PoolSaturated: there is no room, and the pool is to reject.
    """
    task.fan_out = fan_out
    task.prepare()
    progress = task.advance()
    if progress is Progress.IN_TURN:
        progress = task.advance()
    if not isinstance(progress, Call):
        future = StagedFuture(task, task)
        task.future = future
        pool.claim_new(fan_out, task)
        pool.settle(task)
        return future
    progress.context = fan_out.context
    future = StagedFuture(task, progress)
    progress.future = future
    if progress.reserve():
        try:
            return pool.submit_to(fan_out, progress)
        except BaseException:  # refused, or too late: nobody will have the future
            future.cancel_unsubmitted()
            task.close()
            raise
    pool.claim_new(fan_out, progress)
    progress.run()
    pool.settle(progress)
    return future


def run_staged(fan_out: FanOut, batch: list[Task]) -> None:
    """Run a fan-out with staged tasks among others, helping; returns when all is settled.

    The staged tasks go on in their order, on this thread; what they call, and the other tasks, is
    done by workers, or by this thread while it would wait.

    Raises:
        DeadlineExceeded: its deadline has passed already.
        PoolSaturated: there is no room at all, and the pool is to reject.
        BaseException: what a task raised that is not an `Exception`.
    """
    staged = [task for task in batch if isinstance(task, StagedTask)]
    try:
        for task in staged:
            task.prepare()
        pool = fan_out.owner.pool
        pool.check_headroom(CALLS_TO_ADD)
        pool.add(fan_out, [task for task in batch if not isinstance(task, StagedTask)])
        stages = Stages(fan_out)
        stages.begin(staged)
        stages.finish()
        pool.help(fan_out)
    finally:
        for task in staged:
            task.close()
        del fan_out, batch, staged  # the traceback of an error leads to this frame


class Stages:
    """The staged tasks of a fan-out on their way, in their order.

    Args:
        fan_out: theirs.
        line: those whose calls were submitted already.
    """

    def __init__(self, fan_out: FanOut, line: Iterable[StagedTask] = ()) -> None:
        self._fan_out = fan_out
        self._pool = fan_out.owner.pool
        self._line = deque(line)
        self._has_begun = False  # whether anything was done that would be lost
        self._mine: Call | None = None  # the newest call: this thread's own, if no other follows

    def begin(self, tasks: Iterable[StagedTask]) -> None:
        """Begin tasks, and have their first calls made, all but the last by workers."""
        for task in tasks:
            if is_over(self._fan_out):
                return
            if len(self._line) >= MOST_BEGUN:
                self._finish_next()
            call = self._go_on(task)
            if call is None:
                continue
            mine, self._mine = self._mine, call
            self._line.append(task)
            if mine is not None:
                self._make(mine, here=False)

    def finish(self) -> None:
        """Take all to their ends, helping.

        Returns early where the fan-out is over: one of its tasks has failed, or its time is up.
        """
        self._make_mine()
        while self._line and self._finish_next():
            pass

    def _finish_next(self) -> bool:
        """Have the first in line go on, when its call was made; before it, one that has failed.

        Returns:
            Whether there is any sense in going on.
        """
        fan_out, line = self._fan_out, self._line
        task = line[0]
        if not has_failed(task):
            assert task.call is not None  # noqa: S101 - else it would not stand in line
            self._pool.help(fan_out, until=task.call)
            if fan_out.hurry:
                fan_out.hurry = False
                task = next((task for task in line if has_failed(task)), task)
        if is_over(fan_out):
            return False
        if not has_failed(task) and task.call is not None and task.call.state is not SETTLED:
            if task.call.state is not UNSTARTED and task.call.state is not RUNNING:
                line.remove(task)  # its call was taken back
            return True  # or another has failed meanwhile, and was dealt with before
        line.remove(task)
        call = self._go_on(task)
        if call is not None:
            line.append(task)
            self._make(call, here=len(line) == 1)
        return True

    def _go_on(self, task: StagedTask) -> Call | None:
        """Have a task go on; the call that it needs next, or `None`."""
        progress = task.advance()
        if progress is Progress.IN_TURN:
            self.finish()
            if is_over(self._fan_out):
                return None
            progress = task.advance()
        if isinstance(progress, Call):
            progress.context = self._fan_out.context
            return progress
        self._has_begun = True
        self._pool.settle(task)
        return None

    def _make_mine(self) -> None:
        """Have the call made that was kept back."""
        mine, self._mine = self._mine, None
        if mine is not None and not is_over(self._fan_out):
            self._make(mine, here=True)

    def _make(self, call: Call, *, here: bool) -> None:
        """Have a call made: on this thread, unless a worker is to keep the time meanwhile."""
        if here and not self._fan_out.patient:
            self._help_with(call)
            return
        try:
            self._pool.add(self._fan_out, [call])
        except DeadlineExceeded:
            self._pool.expire(self._fan_out)
        except PoolSaturated:
            if not self._has_begun:
                raise
            self._help_with(call)  # it is too late to turn the caller away
        self._has_begun = True

    def _help_with(self, call: Call) -> None:
        """Make a call on this thread, and help until the next task in line can go on."""
        self._pool.claim_new(self._fan_out, call)
        self._pool.help(self._fan_out, call, until=self._line[0].call)


def unfinished(tasks: Iterable[Task]) -> list[StagedTask]:
    """The staged ones among tasks that are not at their end."""
    return [task for task in tasks if isinstance(task, StagedTask) and task.state is not SETTLED]


def is_over(fan_out: FanOut) -> bool:
    """Whether nobody wants more results of a fan-out."""
    return fan_out.failure is not None or fan_out.ending is not None


def has_failed(task: StagedTask) -> bool:
    """Whether what a staged task has had called is done, and has failed."""
    return task.call is not None and task.call.failure is not None
