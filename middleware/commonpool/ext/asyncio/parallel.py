"""run_in_parallel_async: as `run_in_parallel`, for who must not wait: an event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from commonpool.errors import TaskCancelled
from commonpool.ext.asyncio.coroutines import CoroutineTask, inside
from commonpool.ext.asyncio.homes import home_of
from commonpool.owner import current_executor
from commonpool.parallel import (
    close_unbegun,
    configure,
    keys_and_things,
    results_of,
    tasks_of,
    timeout_for,
)
from commonpool.pool import CommonPool
from commonpool.staged import StagedTask, submit_staged
from commonpool.task import FanOut, Owner, Task, TaskFuture

# Seconds after which it is looked again whether there are workers for what waits for one.
LOOK_AGAIN = 0.1


class AwaitedFanOut(FanOut):
    """A fan-out whose caller is a coroutine."""

    def __init__(self, owner: Owner, *, timeout: float | None, stops_on_failure: bool) -> None:
        super().__init__(owner, timeout=timeout, has_caller=True, stops_on_failure=stops_on_failure)
        self.patient = True  # the caller runs nothing itself
        self.coroutine = inside.get()
        if self.coroutine is not None and self.coroutine.fan_out.owner is owner:
            self.deadline = min(self.deadline, self.coroutine.fan_out.deadline)

    @property
    def helpers(self) -> list[FanOut]:
        """The fan-outs whose callers are threads that may wait for this one's caller."""
        found: list[FanOut] = []
        coroutine = self.coroutine
        while coroutine is not None:
            if not isinstance(coroutine.fan_out, AwaitedFanOut):
                found.append(coroutine.fan_out)
            coroutine = coroutine.outer
        return found


class Wake:
    """What a coroutine sleeps on, as a thread does on a lock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.woken = asyncio.Event()

    def release(self) -> None:
        """Wake it; called on any thread."""
        with suppress(RuntimeError):  # the loop was closed: nobody waits on it any more
            self._loop.call_soon_threadsafe(self.woken.set)


async def run_in_parallel_async(
    tasks: Mapping[Any, Any] | Iterable[Any],
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - as for `run_in_parallel`
    return_exceptions: bool = False,
    session: Any = None,
    snapshot: str | None = None,
) -> Any:
    """Run tasks side by side, as `run_in_parallel` does; the event loop goes on meanwhile.

    Coroutines run on the event loop that awaits this, all else on workers. What a session does
    itself is done on this thread: the making of its objects, and statements that stay at home.

    Args:
        tasks: as for `run_in_parallel`.
        timeout: seconds for all of them; `None` for the request's deadline alone.
        return_exceptions: put what a task raised in the place of its result.
        session: whose the statements are.
        snapshot: as for `run_in_parallel`.

    Raises:
        TypeError, ValueError, DeadlineExceeded, TaskCancelled, PoolSaturated: as `run_in_parallel`.
        CancelledError: what awaits this was cancelled; so are the tasks then.
    """
    keys, things = keys_and_things(tasks)
    if timeout is not None:
        timeout = timeout_for(things, timeout)
    results: list[Any] = []
    if things:
        fan_out = AwaitedFanOut(
            current_executor().owner, timeout=timeout, stops_on_failure=not return_exceptions
        )
        results = await _results(things, fan_out, keys, session, snapshot)
    return results if keys is None else dict(zip(keys, results, strict=True))


async def _results(
    things: list[Any],
    fan_out: AwaitedFanOut,
    keys: list[Any] | None,
    session: Any,
    snapshot: str | None,
) -> list[Any]:
    pool = fan_out.owner.pool
    batch: list[Task] = []
    futures: dict[StagedTask, TaskFuture] = {}
    try:
        batch = tasks_of(things, fan_out, keys)
        configure(batch, {"session": session, "snapshot": snapshot})
        await _run_here(_begin(batch, fan_out), fan_out)
        for task in batch:
            if isinstance(task, StagedTask):
                futures[task] = submit_staged(pool, fan_out, task)
            elif not isinstance(task, CoroutineTask):
                pool.submit_to(fan_out, task)
        for helper in fan_out.helpers if fan_out.unstarted else ():
            pool.lend(fan_out, helper)
        await _wait(pool, fan_out)
        for staged, future in futures.items():
            _finish(staged, future, fan_out)
        return results_of(batch, fan_out, "run_in_parallel_async", keys)
    except BaseException:
        pool.end((fan_out,), TaskCancelled, "The coroutine that waits for it has failed.")
        raise
    finally:
        close_unbegun(batch)
        for staged in futures:
            staged.close()
        del fan_out, batch, futures  # an error's traceback holds this frame


def _begin(batch: list[Task], fan_out: FanOut) -> list[CoroutineTask]:
    """Begin a fan-out's coroutines on this thread's loop; those that have to be run here."""
    home = home_of(asyncio.get_running_loop())
    coroutines = [task for task in batch if isinstance(task, CoroutineTask)]
    for task in coroutines:
        task.home = home
    left = fan_out.owner.pool.begin_threadless(fan_out, [*coroutines])
    return coroutines if left else []


async def _run_here(left: list[CoroutineTask], fan_out: FanOut) -> None:
    """Run coroutines one after another where they are awaited, since nothing else can."""
    pool = fan_out.owner.pool
    for task in left:
        if fan_out.failure is not None or fan_out.ending is not None:
            return
        pool.claim_new(fan_out, task)
        seconds = fan_out.deadline - pool.clock()
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await task.run_within()
        except TimeoutError:
            pool.expire(fan_out, task)
            return
        pool.settle_here(task)


async def _wait(pool: CommonPool, fan_out: FanOut) -> None:
    """Sleep until no task of a fan-out is left, or it is ended."""
    wake = Wake()
    while pool.latch_threadless(fan_out, wake):
        while not wake.woken.is_set():
            # Nobody is told when there are no workers left, since callers help themselves.
            seconds = LOOK_AGAIN if fan_out.unstarted else None
            try:
                async with asyncio.timeout(seconds):
                    await wake.woken.wait()
            except TimeoutError:
                if not pool.has_workers:
                    pool.run_unstarted(fan_out)
        wake = Wake()


def _finish(task: StagedTask, future: TaskFuture, fan_out: FanOut) -> None:
    """Make the result of a staged task whose rows are there, unless nobody wants it any more."""
    if fan_out.failure is None and fan_out.ending is None:
        error = future.exception()
        if error is not None and fan_out.stops_on_failure:
            fan_out.failure = task
