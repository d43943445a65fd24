"""OwnerExecutor and TaskGroup: what a request may do with the pool. It ends with the request."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from itertools import islice
from types import TracebackType
from typing import Any, Self

from commonpool.adapters import mapped_task, task_of
from commonpool.errors import TaskCancelled
from commonpool.pool import CommonPool
from commonpool.process import current_pool
from commonpool.staged import StagedTask, Stages, submit_staged, unfinished
from commonpool.task import FanOut, Owner, Task, TaskFuture, check_callable
from commonpool.unread import log_in

current: ContextVar[OwnerExecutor | None] = ContextVar("commonpool_executor", default=None)
"""The executor of the request that this context belongs to."""


class OwnerExecutor(ThreadPoolExecutor):
    """What a request (or script) may do with the process's pool.

    Guarantees:
        It has no thread and no queue of its own, and takes nothing before its first task.
        After its request has ended, and after the pool was closed, what is submitted runs at
        once in the thread that submits it.
        No method of it shuts the process's pool down.

    Args:
        deadline: the moment on the monotonic clock (seconds) after which nobody wants its
            results; `math.inf` for none.
    """

    # Deliberately without the base class's __init__: it makes a queue, locks and a semaphore for
    # threads that this executor does not have, for every request, and every public method that
    # would use them is replaced here.
    def __init__(self, deadline: float = math.inf) -> None:
        self._deadline = deadline
        self._owners: dict[CommonPool, Owner] = {}

    _has_ended = False

    @property
    def deadline(self) -> float:
        """The moment on `time.monotonic` after which nobody wants its results; inf for none."""
        return self._deadline

    @property
    def ended(self) -> bool:
        """Whether its request is over."""
        return self._has_ended

    @property
    def pool(self) -> CommonPool:
        """The process's pool (for its `stats`)."""
        return current_pool()

    @property
    def owner(self) -> Owner:
        """This executor's record in the process's pool; after a fork, in the child's."""
        pool = current_pool()
        owner = self._owners.get(pool)
        if owner is None:
            # setdefault is one step: two threads of one request get the same record
            owner = self._owners.setdefault(pool, Owner(pool, self._deadline))
            owner.ended = self._has_ended
            if len(self._owners) > 1:
                for old in [old for old in self._owners if old.closed and old is not pool]:
                    self._owners.pop(old, None)
        return owner

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Run `fn(*args, **kwargs)` on a worker; at once in this thread where no worker may.

        Returns:
            Its future. Who calls its `result()` before a worker has started it, runs it.

        Raises:
            TypeError: `fn` cannot be called, or is a coroutine function.
            DeadlineExceeded: the deadline has passed.
            PoolSaturated: there is no room, and the pool is to reject.
        """
        task = task_of(fn, args, kwargs)
        owner = self.owner
        fan_out = FanOut(owner)
        if isinstance(task, StagedTask):
            return submit_staged(owner.pool, fan_out, task)
        return owner.pool.submit_to(fan_out, task)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """The results of `fn` for each of the arguments, in their order.

        Args:
            fn: what to call.
            iterables: its arguments; read at once, unless there is a `buffersize`.
            timeout: seconds for all of it, from now.
            chunksize: for processes; threads have no use for it.
            buffersize: how many calls may be submitted whose results were not taken yet.

        Raises:
            TypeError: `fn` cannot be called.
            ValueError: a number is out of range.
            DeadlineExceeded: the time passed first; while iterating, or at once if there was none.
        """
        check_callable(fn)
        if chunksize < 1:
            raise ValueError(f"chunksize must be 1 or more, got {chunksize!r}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None, or 1 or more, got {buffersize!r}")
        owner = self.owner
        fan_out = FanOut(owner, timeout=checked_timeout(timeout), has_caller=True)
        calls = zip(*iterables, strict=False)
        futures = deque(
            owner.pool.submit_to(fan_out, mapped_task(fn, args))
            for args in islice(calls, buffersize)
        )

        def results() -> Iterator[Any]:
            try:
                while futures:
                    for args in islice(calls, 1):
                        futures.append(owner.pool.submit_to(fan_out, mapped_task(fn, args)))
                    yield futures.popleft().result()
            finally:
                for future in futures:
                    future.cancel()
                owner.pool.forget_watch(fan_out)

        return results()

    def task_group(self, timeout: float | None = None) -> TaskGroup:
        """A group of tasks that are waited for together, at the end of its `with` block.

        Args:
            timeout: seconds for all of them; `None` for the request's deadline alone.

        Raises:
            ValueError: the timeout is negative or not a number.
        """
        return TaskGroup(self.owner, checked_timeout(timeout))

    def background(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Run `fn(*args, **kwargs)` as work that outlives the request.

        It has no deadline, waits in turn with the requests, and is drained before the process
        exits. If it fails, that is logged.

        Raises:
            TypeError: `fn` cannot be called, or is a coroutine function.
            PoolSaturated: there is no room, and the pool is to reject.
        """
        task = task_of(fn, args, kwargs)
        if isinstance(task, StagedTask):
            raise TypeError(
                f"{task.name} cannot run in the background: its request's session makes the objects"
                " of its result. Pass a function that opens a session of its own."
            )
        return submit_in_background(task)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Wait for this owner's tasks, helping; what `with executor:` does at its end.

        Inside a task, for those that this task has submitted. The executor can be used on. (In a
        thread that a task has started and waits for, it would wait for that task.)

        Args:
            wait: whether to wait at all.
            cancel_futures: whether to cancel what has not started.
        """
        owner = self.owner
        if cancel_futures:
            for fan_out in owner.pool.open_fan_outs(owner):
                owner.pool.withdraw(fan_out, "The executor was shut down.")
        if wait:
            owner.pool.help_all(owner)

    def end(self) -> None:
        """The request is over: cancel its unstarted tasks, abandon the started ones."""
        self._has_ended = True
        if not self._owners:
            return
        for owner in list(self._owners.values()):
            if owner.pool.pid == os.getpid():
                owner.pool.end_owner(owner)

    def __repr__(self) -> str:
        state = "ended" if self._has_ended else f"deadline={self._deadline:g}"
        return f"<OwnerExecutor {state}>"


class TaskGroup:
    """Tasks that are waited for together.

    Guarantees:
        When the `with` block has ended, none of its tasks is waiting or running, but for those
        that a deadline (or Ctrl-C) has abandoned.
        The first failure cancels the unstarted siblings, waits for the started ones, and is
        raised as itself; so does an exception of the block.
    """

    def __init__(self, owner: Owner, timeout: float | None) -> None:
        self._owner = owner
        self._timeout = timeout
        self._fan_out: FanOut | None = None
        self._tasks: list[Task] = []
        self._open = False

    def __enter__(self) -> Self:
        if self._fan_out is not None:
            raise RuntimeError("A task group is used once; make another with task_group().")
        self._fan_out = FanOut(
            self._owner, timeout=self._timeout, has_caller=True, stops_on_failure=True
        )
        self._open = True
        return self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Run `fn(*args, **kwargs)` in this group; see `OwnerExecutor.submit`.

        Raises:
            RuntimeError: the block has not begun, or is over.
        """
        if self._fan_out is None or not self._open:
            raise RuntimeError("Submit to a task group inside its with block.")
        self._owner.pool.check_process()
        task = task_of(fn, args, kwargs)
        if isinstance(task, StagedTask):
            future = submit_staged(self._owner.pool, self._fan_out, task)
            self._tasks.append(task)
            return future
        self._tasks.append(task)
        task.capture_context()
        return self._owner.pool.submit_to(self._fan_out, task)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        fan_out = self._fan_out
        assert fan_out is not None  # noqa: S101 - __enter__ made it
        pool = fan_out.owner.pool
        try:
            if pool.pid != os.getpid():  # the block has forked, and this is the child
                if error is None:
                    pool.check_process()
                return
            if isinstance(error, Exception):
                pool.withdraw(fan_out, "The block of its task group failed.")
            elif error is not None:
                pool.end((fan_out,), TaskCancelled, "The block of its task group was interrupted.")
            Stages(fan_out, unfinished(self._tasks)).finish()
            pool.help(fan_out)
            self._open = False
            symptom = isinstance(error, TaskCancelled) and fan_out.failure is not None
            if error is None or symptom:
                raise_failure(fan_out, self._tasks, "task group")
        finally:
            self._open = False
            for task in unfinished(self._tasks):
                task.close()
            del fan_out, self  # an error's traceback holds this frame


def raise_failure(
    fan_out: FanOut, tasks: list[Task], what: str, keys: list[Any] | None = None
) -> None:
    """Raise what the first failing task raised, with a note; or why the fan-out was ended.

    Args:
        fan_out: it is over.
        tasks: its tasks, in order.
        what: made them, for the note.
        keys: what the caller calls them; their numbers, from 1, by default.
    """
    failure = fan_out.failure
    if failure is None:
        if fan_out.ending is not None:
            raise fan_out.ending.error
        return
    error = failure.error
    assert error is not None  # noqa: S101 - that is what made it a failure
    log_others(tasks, failure)
    if failure.unread is not None:
        failure.unread.read()
    index = tasks.index(failure) if failure in tasks else 0
    name = f"{index + 1} of {len(tasks)}" if keys is None else f"{keys[index]!r}"
    note = f"in task {name} of a {what}: {failure.name}"
    with suppress(Exception):  # an error of an odd kind is raised without
        notes = getattr(error, "__notes__", ())
        if note not in notes and len(notes) < MOST_NOTES:
            error.add_note(note)
    fan_out.failure = None  # it refers to its fan-out in turn
    try:
        raise error
    finally:
        del error, failure, fan_out, tasks  # the error's traceback holds this frame


def log_others(tasks: list[Task], failure: Task) -> None:
    """Log what failed beside the task whose error is raised; nobody has the futures of those.

    Args:
        tasks: those of a fan-out that is over.
        failure: the one of them.
    """
    others = [
        (task, error)
        for task in tasks
        if task is not failure and task.unread is None
        if (error := task.own_failure) is not None
    ]
    if others:
        (first, error), more = others[0], len(others) - 1
        names = f"{first.name} and {more} more" if more else first.name
        message = f"{names} failed, too, beside {failure.name}, whose error is raised"
        log_in(first.its_context, logging.ERROR, message, error)
        del error, first
    del others, tasks, failure  # an error's traceback holds this frame


def checked_timeout(timeout: float | None) -> float | None:
    """A timeout in seconds, as it was given.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative or not a number (NaN).
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r:.60}")
    if not timeout >= 0:
        raise ValueError(f"timeout must be 0 seconds or more, got {timeout!r}")
    try:
        return float(timeout)
    except OverflowError:  # a whole number beyond all floats
        return math.inf


# An error that is raised again and again collects no more notes than this.
MOST_NOTES = 10

_outside = OwnerExecutor()


def submit_in_background(task: Task, owner: Owner | None = None) -> TaskFuture:
    """Run a task as work that outlives the request; see `OwnerExecutor.background`.

    Args:
        task: which.
        owner: on whose behalf; by default that of all background work.

    Raises:
        PoolSaturated: there is no room, and the pool is to reject.
    """
    pool = current_pool()
    fan_out = FanOut(pool.background_owner if owner is None else owner)
    fan_out.context.run(current.set, None)
    return pool.submit_to(fan_out, task)


def current_executor() -> OwnerExecutor:
    """The executor of the request that is being served, or else the process-wide one."""
    return current.get() or _outside
