"""``await run_in_parallel_async(...)``: the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from commonpool import DeadlineExceeded, PoolSaturated, TaskCancelled, current_executor
from commonpool.ext.asyncio import run_in_parallel_async
from commonpool.process import current_pool
from commonpool.testing import inline
from tests.asyncio.helpers import AsyncGate, name_of_thread
from tests.helpers import Gate, wait_until


def outside(main: Callable[[], Any]) -> Any:
    """Run a coroutine on an event loop of its own, as a server or an async view does."""
    return asyncio.run(main())


def inside(main: Callable[[], Any]) -> Any:
    """Run a coroutine on the process's loop, as a task."""

    async def awaits() -> Any:
        return await main()

    return current_executor().submit(awaits).result()


@pytest.fixture(params=[outside, inside], ids=["on a loop of its own", "inside a coroutine task"])
def run(request) -> Callable[[Callable[[], Any]], Any]:
    """Run a coroutine function."""
    run: Callable[[Callable[[], Any]], Any] = request.param
    return run


async def seven() -> int:
    await asyncio.sleep(0)
    return 7


async def fails() -> None:
    await asyncio.sleep(0)
    raise LookupError("no such thing")


def test_results_stand_in_the_order_of_the_tasks(make_pool, run):
    make_pool(max_workers=2)
    assert run(lambda: run_in_parallel_async([seven, lambda: 1, seven(), partial(abs, -3)])) == [
        7,
        1,
        7,
        3,
    ]


def test_results_stand_under_their_keys(make_pool, run):
    make_pool(max_workers=2)
    tasks = {"a": seven, "b": lambda: 1}
    assert run(lambda: run_in_parallel_async(tasks)) == {"a": 7, "b": 1}


@pytest.mark.parametrize("nothing", [[], {}, ()])
def test_nothing_to_do_is_done_at_once(make_pool, run, nothing):
    make_pool(max_workers=1)
    result = run(lambda: run_in_parallel_async(nothing))
    assert result == ({} if nothing == {} else [])
    assert current_pool().stats().workers == 0


def test_coroutines_run_on_the_loop_that_awaits_and_all_else_on_workers(make_pool, run):
    make_pool(max_workers=2)

    async def main() -> tuple[str, list[str]]:
        here = threading.current_thread().name
        return here, await run_in_parallel_async(
            [name_of_thread, lambda: threading.current_thread().name]
        )

    here, (coroutines, callables) = run(main)
    assert coroutines == here
    assert callables != here


def test_the_loop_goes_on_while_workers_work(make_pool, run):
    make_pool(max_workers=1)
    with Gate() as gate:

        async def main() -> list[Any]:
            waiting = asyncio.ensure_future(run_in_parallel_async([gate, lambda: 2]))
            await asyncio.to_thread(wait_until, lambda: gate.inside)
            assert await seven() == 7  # it is here that the loop goes on
            gate.open()
            return await waiting

        assert run(main) == [None, 2]


def test_the_context_is_the_callers(make_pool, run):
    make_pool(max_workers=1)
    name = contextvars.ContextVar("name", default="nobody")

    async def read() -> str:
        return name.get()

    async def main() -> list[str]:
        name.set("caller")
        return await run_in_parallel_async([read, name.get])

    assert run(main) == ["caller", "caller"]


@pytest.mark.parametrize("failing", [fails, lambda: 1 // 0], ids=["coroutine", "callable"])
def test_the_first_failure_cancels_the_others_and_is_raised_as_itself(make_pool, run, failing):
    make_pool(max_workers=1)
    with AsyncGate() as gate:

        async def main() -> list[Any]:
            return await run_in_parallel_async([gate, failing])

        with pytest.raises((LookupError, ZeroDivisionError)) as caught:
            run(main)
        assert gate.inside == 0
    assert caught.value.__notes__[0].startswith("in task 2 of 2 of a run_in_parallel_async: ")


def test_errors_stand_in_the_place_of_results_if_that_is_asked_for(make_pool, run):
    make_pool(max_workers=1)

    async def main() -> list[Any]:
        return await run_in_parallel_async([fails, lambda: 1 // 0, seven], return_exceptions=True)

    first, second, third = run(main)
    assert isinstance(first, LookupError)
    assert isinstance(second, ZeroDivisionError)
    assert third == 7


def test_a_timeout_abandons_what_is_started(make_pool, run):
    make_pool(max_workers=1)
    with AsyncGate() as coroutines, Gate() as callables:

        async def main() -> list[Any]:
            return await run_in_parallel_async([coroutines, callables], timeout=0.5)

        with pytest.raises(DeadlineExceeded, match="2 of its tasks were running"):
            run(main)
        assert coroutines.cancelled == 1 or wait_until(lambda: coroutines.cancelled == 1)
        assert current_pool().stats().abandoned == 1


def test_the_deadline_of_the_coroutine_that_asks_is_kept(make_pool):
    make_pool(max_workers=1)
    with AsyncGate() as gate:

        async def main() -> list[Any]:
            return await run_in_parallel_async([gate, gate])

        with pytest.raises(DeadlineExceeded), current_executor().task_group(0.5) as group:
            group.submit(main)
        wait_until(lambda: gate.cancelled == 2)


def test_who_is_cancelled_while_it_waits_cancels_its_tasks(make_pool, run):
    make_pool(max_workers=1)
    with AsyncGate() as coroutines, Gate() as callables:

        async def main() -> str:
            waiting = asyncio.ensure_future(
                run_in_parallel_async([coroutines, callables, lambda: 1])
            )
            await asyncio.to_thread(wait_until, lambda: coroutines.inside and callables.inside)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.to_thread(wait_until, lambda: coroutines.cancelled)
            return "cancelled"

        assert run(main) == "cancelled"
        stats = current_pool().stats()
        assert (stats.abandoned, stats.queued) == (1, 0)


def test_the_end_of_a_request_ends_it(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor()
    with AsyncGate() as gate:

        async def main() -> None:
            waiting = asyncio.ensure_future(run_in_parallel_async([gate, gate]))
            await asyncio.to_thread(wait_until, lambda: gate.inside == 2)
            await asyncio.to_thread(executor.end)
            with pytest.raises(TaskCancelled, match="request ended"):
                await waiting

        asyncio.run(main())


def test_workers_come_for_more_than_there_is_room_for(make_pool, run):
    make_pool(max_workers=1, max_queue=1)
    numbers = [partial(abs, -number) for number in range(20)]
    assert run(lambda: run_in_parallel_async(numbers)) == list(range(20))


def test_what_is_rejected_ends_what_was_begun(make_pool):
    make_pool(max_workers=1, max_queue=1, overflow="reject")
    other = current_executor()
    with Gate() as gate, AsyncGate() as coroutines:
        busy = other.pool.submit(gate)
        wait_until(lambda: gate.inside == 1)
        queued = other.pool.submit(lambda: 1)

        async def main() -> None:
            with pytest.raises(PoolSaturated):
                await run_in_parallel_async([coroutines, lambda: 2])
            await asyncio.to_thread(wait_until, lambda: not current_pool().stats().coroutines)

        asyncio.run(main())
        assert coroutines.inside == 0
        gate.open()
        assert (busy.result(), queued.result()) == (None, 1)


def test_one_coroutine_at_a_time_is_enough_for_those_that_wait_for_others(make_pool):
    make_pool(max_workers=1, max_coroutines=1)

    async def tree(depth: int) -> int:
        if not depth:
            return 1
        return sum(await run_in_parallel_async([tree(depth - 1), partial(tree, depth - 1)]))

    assert inside(partial(tree, 5)) == 32


def test_the_only_worker_waits_for_a_coroutine_that_needs_one(make_pool, run):
    make_pool(max_workers=1)

    async def needs_worker() -> list[int]:
        return await run_in_parallel_async([lambda: 1, lambda: 2, lambda: 3])

    def waits() -> list[int]:
        result: list[int] = current_executor().submit(needs_worker).result()
        return result

    assert run(lambda: run_in_parallel_async([waits])) == [[1, 2, 3]]


def test_once_the_pool_is_closed_all_is_done_where_it_is_awaited(make_pool):
    make_pool(max_workers=1).close()

    async def main() -> list[Any]:
        return await run_in_parallel_async(
            [name_of_thread, lambda: threading.current_thread().name, seven()]
        )

    assert asyncio.run(main()) == ["MainThread", "MainThread", 7]


def test_a_pool_that_is_closed_meanwhile_leaves_nobody_waiting(make_pool):
    pool = make_pool(max_workers=1, drain_timeout=0.1)
    with Gate() as gate:

        async def main() -> list[Any]:
            return await run_in_parallel_async([lambda: 1, lambda: 2])

        pool.submit(gate)
        wait_until(lambda: gate.inside == 1)
        closing = threading.Timer(0.05, pool.close)
        closing.start()
        assert asyncio.run(main()) == [1, 2]
        closing.join()


def test_inline():
    with inline():
        assert asyncio.run(run_in_parallel_async([seven, lambda: 1, seven()])) == [7, 1, 7]


def test_what_is_no_task_is_refused(make_pool, run):
    make_pool(max_workers=1)
    with pytest.raises(TypeError, match="must be something to call") as caught:
        run(lambda: run_in_parallel_async([seven, 5]))
    assert caught.value.__notes__ == ["as task 2 of run_in_parallel"]


def test_snapshot_without_statements_is_refused(make_pool, run):
    make_pool(max_workers=1)
    with pytest.raises(TypeError, match="snapshot= is for statements"):
        run(lambda: run_in_parallel_async([seven], snapshot="shared"))
