"""run_in_parallel: a list or a dict of tasks, side by side."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import FunctionType
from typing import Any, NoReturn, TypeVar, overload

from commonpool.adapters import ASYNC, as_task, budget_of, budgets
from commonpool.errors import TaskCancelled
from commonpool.kept_functions import keep_functions
from commonpool.kept_task import KeptTask, keepers
from commonpool.owner import checked_timeout, current_executor, raise_failure
from commonpool.staged import StagedTask, run_staged
from commonpool.task import CANCELLED, SETTLED, UNSTARTED, FanOut, Task
from commonpool.threadless import ThreadlessTask

__all__ = ["as_task", "run_in_parallel"]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@overload
def run_in_parallel(  # type: ignore[overload-overlap]  # a mapping is an iterable too, of its keys
    tasks: Mapping[K, Callable[[], T]],
    *,
    timeout: float | None = ...,
    return_exceptions: bool = ...,
    session: Any = ...,
    snapshot: str | None = ...,
) -> dict[K, T]: ...
@overload
def run_in_parallel(  # type: ignore[overload-overlap]  # the same
    tasks: Iterable[Callable[[], T]],
    *,
    timeout: float | None = ...,
    return_exceptions: bool = ...,
    session: Any = ...,
    snapshot: str | None = ...,
) -> list[T]: ...
@overload
def run_in_parallel(
    tasks: Mapping[K, Any],
    *,
    timeout: float | None = ...,
    return_exceptions: bool = ...,
    session: Any = ...,
    snapshot: str | None = ...,
) -> dict[K, Any]: ...
@overload
def run_in_parallel(
    tasks: Iterable[Any],
    *,
    timeout: float | None = ...,
    return_exceptions: bool = ...,
    session: Any = ...,
    snapshot: str | None = ...,
) -> list[Any]: ...
def run_in_parallel(
    tasks: Mapping[Any, Any] | Iterable[Any],
    *,
    timeout: float | None = None,
    return_exceptions: bool = False,
    session: Any = None,
    snapshot: str | None = None,
) -> Any:
    """Run tasks side by side; their results, in their order or under their keys.

    The calling thread runs what no worker has started. The first failure cancels what has not
    started, waits for what has, and is raised as itself, with a note that names the task.

    Args:
        tasks: callables without arguments, in an iterable or under keys in a mapping; with an
            adapter, statements and queries too (see `commonpool.ext.sqlalchemy`).
        timeout: seconds for all of them; `None` for the request's deadline alone.
        return_exceptions: put what a task raised in the place of its result; nothing is
            cancelled then. A task that has no result when the time is over has the
            `DeadlineExceeded` in its place.
        session: whose the statements are; by default the one that the adapter finds.
        snapshot: ``"shared"`` for statements that are all to see one state of the database.

    Raises:
        TypeError: one of them is not a task. Nothing was started then.
        ValueError: the timeout is negative or not a number.
        RuntimeError: this thread runs an event loop, which would stand still.
        DeadlineExceeded: the time passed first.
        TaskCancelled: the request ended first.
        PoolSaturated: every waiting place is another owner's, and the pool is to reject.
    """
    loops = sys.modules.get("asyncio.events")
    if loops is not None and loops._get_running_loop() is not None:  # noqa: SLF001 - documented
        refuse_to_block(tasks)
    keys, things = keys_and_things(tasks)
    if timeout is not None:
        timeout = timeout_for(things, timeout)
    if things:
        fan_out = FanOut(
            current_executor().owner,
            timeout=timeout,
            has_caller=True,
            stops_on_failure=not return_exceptions,
        )
        fan_out.place = _place()
        results = _results(things, fan_out, keys, session, snapshot)
    else:
        results = []
    return results if keys is None else dict(zip(keys, results, strict=True))


def keys_and_things(
    tasks: Mapping[Any, Any] | Iterable[Any],
) -> tuple[list[Any] | None, list[Any]]:
    """What the caller calls its tasks, if it does, and they themselves.

    Raises:
        TypeError: it is no iterable of tasks.
    """
    if type(tasks) is list:  # by far the most frequent, and the abstract classes are slow to ask
        return None, tasks.copy()  # a task may change it
    if isinstance(tasks, Mapping):
        return list(tasks), list(tasks.values())
    return None, _listed(tasks)


def timeout_for(things: list[Any], timeout: float) -> float | None:
    """A timeout in seconds, as it was given for tasks.

    Raises:
        TypeError, ValueError: it is no such thing. Nothing is left of the tasks then.
    """
    try:
        return checked_timeout(timeout)
    except (TypeError, ValueError):
        close_coroutines(things)
        raise


def close_coroutines(things: Iterable[Any]) -> None:
    """Close those that will never be awaited, and would warn of that: one error is enough."""
    for thing in things:
        if inspect.iscoroutine(thing):
            thing.close()


def refuse_to_block(tasks: object) -> NoReturn:
    """Raise `RuntimeError`: an event loop runs in this thread."""
    if isinstance(tasks, Iterable):
        close_coroutines(tasks.values() if isinstance(tasks, Mapping) else tasks)
    raise RuntimeError(
        "This thread runs an event loop, which would stand still until all is done: "
        "use `await run_in_parallel_async(...)` of commonpool.ext.asyncio, with the same "
        "arguments, or call what blocks in a thread: `await asyncio.to_thread(...)`."
    )


def _results(
    things: list[Any], fan_out: FanOut, keys: list[Any] | None, session: Any, snapshot: str | None
) -> list[Any]:
    batch: list[Task] = []
    rest: list[Task] = []
    kept: KeptTask | None = None
    pool = fan_out.owner.pool
    try:
        if snapshot is None and len(things) > 1 and pool.keeps(fan_out):
            kept = _run_as_one(things, fan_out, session)
        if kept is not None and kept.is_done:
            results = kept.values
        else:
            if kept is None:
                batch = rest = tasks_of(things, fan_out, keys)
            else:
                pool.end_keeping(kept)
                batch = tasks_of(things[: len(things) - len(kept.handed_over)], fan_out, keys)
                rest = pool.take_over(kept, batch)
                batch.extend(kept.handed_over)
            if fan_out.has_threadless:
                rest = _begin_threadless(fan_out, rest)
            if fan_out.has_staged or snapshot is not None:
                configure(batch, {"session": session, "snapshot": snapshot})
                if rest:
                    run_staged(fan_out, rest)
            else:
                fan_out.unstarted.extend(rest)
                pool.help(fan_out, pool.admit(fan_out) if rest else None)
            results = results_of(batch, fan_out, "run_in_parallel", keys)
        pool.note_pace(fan_out)
        return results
    except BaseException:
        _end_threadless(fan_out)
        raise
    finally:
        if fan_out.has_threadless:
            close_unbegun(batch)
        del fan_out, batch, rest, kept  # an error's traceback holds this frame


def _end_threadless(fan_out: FanOut) -> None:
    """End those tasks of a fan-out that need no thread, if any are left: nobody waits for them."""
    if fan_out.threadless:
        fan_out.owner.pool.end((fan_out,), TaskCancelled, "Its caller has failed.")


def close_unbegun(batch: list[Task]) -> None:
    """Close those tasks that need no thread, and will not be begun."""
    for task in batch:
        if isinstance(task, ThreadlessTask) and task.state in (UNSTARTED, CANCELLED):
            task.close()


def _begin_threadless(fan_out: FanOut, batch: list[Task]) -> list[Task]:
    """Begin those tasks of a fan-out that need no thread; what its caller has to see to."""
    threadless = [task for task in batch if isinstance(task, ThreadlessTask)]
    if fan_out.owner.pool.begin_threadless(fan_out, threadless):
        return batch
    return [task for task in batch if not isinstance(task, ThreadlessTask)]


def results_of(batch: list[Task], fan_out: FanOut, what: str, keys: list[Any] | None) -> list[Any]:
    """The results of tasks that have come to their ends.

    Args:
        batch: they.
        fan_out: theirs.
        what: made them, for the note of an error.
        keys: what the caller calls them.
    """
    try:
        if not fan_out.stops_on_failure:
            return [_value_or_error(task) for task in batch]
        if fan_out.failure is not None or fan_out.ending is not None:
            raise_failure(fan_out, batch, what, keys)
        return [task.value for task in batch]
    finally:
        del batch, fan_out  # an error's traceback holds this frame


def _run_as_one(things: list[Any], fan_out: FanOut, session: Any) -> KeptTask | None:
    """Run things on this thread as one, as far as it goes; `None` if nobody knows how."""
    kept: KeptTask | None = keep_functions(things, fan_out)
    if kept is None:
        kept = next(filter(None, (keeper(things, fan_out, session) for keeper in keepers)), None)
    if kept is not None:
        fan_out.owner.pool.run_as_one(kept)
    return kept


def configure(batch: list[Task], settings: dict[str, Any]) -> None:
    """Tell the staged tasks what was asked for.

    Raises:
        TypeError: there are none, so that it would be ignored.
    """
    staged = [task for task in batch if isinstance(task, StagedTask)]
    if not staged and settings["snapshot"] is not None:
        raise TypeError("snapshot= is for statements and queries, and none of the tasks is one")
    for task in staged:
        task.configure(settings)


def _place() -> Hashable:
    """Where `run_in_parallel` was called, and where what calls it there was called."""
    caller = sys._getframe(1).f_back  # noqa: SLF001 - documented
    before = None if caller is None else caller.f_back
    if caller is None or before is None:
        return None
    return id(caller.f_code), caller.f_lasti, id(before.f_code), before.f_lasti


def _value_or_error(task: Task) -> Any:
    if task.state is not SETTLED:
        ending = task.fan_out.ending
        assert ending is not None  # noqa: S101 - or all of its tasks would be settled
        return ending.error
    if task.error is None:
        return task.value
    if isinstance(task.error, Exception):
        if task.unread is not None:
            task.unread.read()
        return task.error
    raise task.error


def tasks_of(things: list[Any], fan_out: FanOut, keys: list[Any] | None) -> list[Task]:
    """The things as tasks of a fan-out; functions, the most frequent, without asking `as_task`."""
    try:
        batch = [
            Task(thing, fan_out)
            if type(thing) is FunctionType and not thing.__code__.co_flags & ASYNC
            else _task(thing, fan_out, index, keys)
            for index, thing in enumerate(things)
        ]
        if budgets:
            for task in batch:
                if type(task) is Task:
                    task.budget = budget_of(task.fn)
        return batch
    except TypeError:
        close_coroutines(things)
        raise


def _task(thing: object, fan_out: FanOut, index: int, keys: list[Any] | None) -> Task:
    try:
        task = as_task(thing)
    except TypeError as error:
        error.add_note(f"as task {repr(keys[index]) if keys else index + 1} of run_in_parallel")
        raise
    task.fan_out = fan_out
    if isinstance(task, StagedTask):
        fan_out.has_staged = True
    elif task.is_threadless:
        fan_out.has_threadless = True
    return task


def _listed(tasks: Iterable[Any]) -> list[Any]:
    """What an iterable holds.

    Raises:
        TypeError: it is no iterable of tasks.
    """
    if isinstance(tasks, str | bytes) or not isinstance(tasks, Iterable):
        raise TypeError(
            "run_in_parallel takes a list of tasks, or a dict of them, "
            f"not {type(tasks).__name__} ({tasks!r:.60})"
        )
    return list(tasks)
