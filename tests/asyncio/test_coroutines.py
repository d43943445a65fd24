"""Coroutines as tasks, on one event loop of the process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import warnings
import weakref
from functools import partial

import pytest

from commonpool import (
    DeadlineExceeded,
    OwnerExecutor,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from commonpool.ext.asyncio import homes, run_in_parallel_async
from commonpool.process import current_pool
from commonpool.testing import inline
from tests.asyncio.helpers import AsyncGate, name_of_thread
from tests.helpers import Gate, run_python, wait_until


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


class Service:
    async def double(self, number: int = 4) -> int:
        return await double(number)

    async def __call__(self) -> int:
        return await double(5)


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self):
        return double(6).__await__()


async def seven() -> int:
    return 7


THINGS = {
    "coroutine function": (lambda: seven, 7),
    "coroutine": (lambda: double(2), 4),
    "partial": (lambda: partial(double, 3), 6),
    "method": (lambda: Service().double, 8),
    "partial of a method": (lambda: partial(Service().double, 1), 2),
    "object": (Service, 10),
    "awaitable": (Later, 12),
}


@pytest.fixture(params=THINGS.values(), ids=THINGS.keys())
def thing(request):
    """Something asynchronous, and what comes of it."""
    make, value = request.param
    return make(), value


class TestWhatIsAsynchronousIsATask:
    def test_of_run_in_parallel_beside_callables_in_order(self, make_pool, thing):
        make_pool(max_workers=2)
        task, value = thing
        assert run_in_parallel([lambda: 1, task, lambda: 3]) == [1, value, 3]

    def test_under_a_key(self, make_pool, thing):
        make_pool(max_workers=2)
        task, value = thing
        assert run_in_parallel({"a": task, "b": lambda: 3}) == {"a": value, "b": 3}

    def test_that_can_be_submitted(self, make_pool, thing):
        make_pool(max_workers=2)
        task, value = thing
        assert current_executor().submit(task).result() == value

    def test_of_a_task_group(self, make_pool, thing):
        make_pool(max_workers=2)
        task, value = thing
        with current_executor().task_group() as group:
            future = group.submit(task)
        assert future.done()
        assert future.result() == value

    def test_in_the_background(self, make_pool, thing):
        make_pool(max_workers=2)
        task, value = thing
        assert current_executor().background(task).result(10) == value

    def test_inline(self, thing):
        task, value = thing
        with inline():
            assert run_in_parallel([task, lambda: 1]) == [value, 1]
            assert current_pool().stats().coroutines == 0

    def test_after_the_pool_was_closed(self, make_pool, thing):
        make_pool(max_workers=2).close()
        task, value = thing
        assert run_in_parallel([task, lambda: 1]) == [value, 1]


def test_submit_passes_arguments_on(make_pool):
    make_pool(max_workers=1)
    assert current_executor().submit(double, 5).result() == 10
    assert current_executor().submit(double, number=6).result() == 12


def test_all_run_on_one_event_loop_of_the_process_a_daemon_thread(make_pool):
    make_pool(max_workers=1)

    async def here() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        return asyncio.get_running_loop(), threading.current_thread()

    (first, thread), *others = [
        *run_in_parallel([here] * 5),
        current_executor().submit(here).result(),
    ]
    assert [loop for loop, _ in others] == [first] * 5
    assert thread.name == "commonpool-loop"
    assert thread.daemon


def test_thousands_of_coroutines_wait_without_a_thread_each(make_pool):
    make_pool(max_workers=1, max_coroutines=2_000)
    run_in_parallel([seven])  # the loop is there
    threads = threading.active_count()
    with AsyncGate() as gate:
        futures = [current_executor().submit(gate, number) for number in range(2_000)]
        wait_until(lambda: gate.inside == 2_000)
        assert threading.active_count() == threads
        assert current_pool().stats().coroutines == 2_000
        gate.open()
        assert [future.result() for future in futures] == list(range(2_000))
    assert current_pool().stats().coroutines == 0


def test_no_more_are_under_way_than_max_coroutines(make_pool):
    make_pool(max_workers=1, max_coroutines=3)
    with AsyncGate() as gate:
        futures = [current_executor().submit(gate, number) for number in range(10)]
        wait_until(lambda: gate.inside == 3)
        gate.open()
        assert [future.result(30) for future in futures] == list(range(10))
    assert gate.peak == 3


def test_a_caller_that_waits_has_one_beside_max_coroutines(make_pool):
    make_pool(max_workers=1, max_coroutines=1)
    with AsyncGate() as gate:
        stuck = current_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        assert run_in_parallel([double(number) for number in range(5)]) == [0, 2, 4, 6, 8]
        assert current_executor().submit(double, 3).result() == 6
        assert not stuck.done()


def test_each_runs_in_a_copy_of_its_callers_context(make_pool):
    make_pool(max_workers=1)
    name = contextvars.ContextVar("name", default="nobody")
    name.set("caller")

    async def rename(number: int) -> tuple[str, str]:
        before = name.get()
        name.set(f"task {number}")
        await asyncio.sleep(0)
        return before, name.get()

    seen = run_in_parallel([partial(rename, number) for number in range(3)])
    assert seen == [("caller", f"task {number}") for number in range(3)]
    assert name.get() == "caller"


def test_a_coroutine_belongs_to_its_request(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor()

    async def whose() -> OwnerExecutor:
        return current_executor()

    assert run_in_parallel([whose, whose]) == [executor, executor]


def test_a_deadline_cancels_what_waits(make_pool, caplog):
    make_pool(max_workers=1)
    with AsyncGate() as gate:
        with pytest.raises(DeadlineExceeded, match="2 of its tasks were running"):
            run_in_parallel([gate, gate], timeout=0.5)
        wait_until(lambda: gate.cancelled == 2)
        wait_until(lambda: current_pool().stats().coroutines == 0)
    # where it waited, and on what
    wait_until(lambda: "in __call__" in caplog.text and "on the event loop" in caplog.text)


def test_the_end_of_a_request_cancels_what_waits(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor()
    with AsyncGate() as gate:
        future = executor.submit(gate)
        wait_until(lambda: gate.inside == 1)
        executor.end()
        wait_until(lambda: gate.cancelled == 1)
        with pytest.raises(TaskCancelled, match="request ended"):
            future.result()


def test_the_first_failure_cancels_the_others_and_is_raised_as_itself(make_pool):
    make_pool(max_workers=1)

    async def fails() -> None:
        await asyncio.to_thread(wait_until, lambda: gate.inside == 2)
        raise LookupError("no such thing")

    with AsyncGate() as gate:
        with pytest.raises(LookupError, match="no such thing") as caught:
            run_in_parallel([gate, fails, gate])
        assert (gate.inside, gate.cancelled) == (0, 2)  # they have ended when it is raised
    assert caught.value.__notes__ == [
        f"in task 2 of 3 of a run_in_parallel: {__name__}.{fails.__qualname__}"
    ]


def test_the_failure_of_a_callable_cancels_coroutines(make_pool):
    make_pool(max_workers=1)

    with AsyncGate() as gate:
        with pytest.raises(ZeroDivisionError):
            run_in_parallel([gate, lambda: 1 // 0])
        assert gate.inside == 0


def test_errors_stand_in_the_place_of_results_if_that_is_asked_for(make_pool):
    make_pool(max_workers=1)

    async def fails() -> None:
        raise LookupError("no such thing")

    async def is_cancelled() -> None:
        raise asyncio.CancelledError

    found, error, cancelled = run_in_parallel([seven, fails, is_cancelled], return_exceptions=True)
    assert found == 7
    assert isinstance(error, LookupError)
    assert isinstance(cancelled, TaskCancelled)


def test_what_ends_a_process_is_raised_in_the_caller_and_not_in_the_loop(make_pool):
    make_pool(max_workers=1)

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_in_parallel([leave])
    assert run_in_parallel([seven]) == [7]


def test_cancelling_a_future_cancels_its_coroutine(make_pool):
    make_pool(max_workers=1, max_coroutines=1)
    with AsyncGate() as gate:
        running, waiting = current_executor().submit(gate), current_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        assert waiting.cancel()
        assert running.cancel()
        assert (waiting.cancelled(), running.cancelled()) == (True, True)
        wait_until(lambda: gate.cancelled == 1)
        wait_until(lambda: current_pool().stats().coroutines == 0)
        with pytest.raises(TaskCancelled, match="was cancelled"):
            running.result()


def test_a_done_callback_may_block_and_the_loop_goes_on(make_pool):
    make_pool(max_workers=2)
    with AsyncGate() as coroutine, Gate() as callback:
        future = current_executor().submit(coroutine)
        future.add_done_callback(callback)
        coroutine.open()
        wait_until(lambda: callback.inside == 1)
        assert run_in_parallel([double(2)]) == [4]


def test_who_waits_on_the_loop_itself_is_told_what_to_do(make_pool):
    make_pool(max_workers=1)

    async def waits() -> str:
        future = current_executor().submit(seven)
        with pytest.raises(RuntimeError, match=r"await asyncio.wrap_future\(future\)"):
            future.result()
        return str(await asyncio.wrap_future(future))

    assert run_in_parallel([waits]) == ["7"]


def test_a_group_and_a_shutdown_on_the_loop_itself_are_told_what_to_do(make_pool):
    make_pool(max_workers=1)

    async def waits() -> int:
        executor = current_executor()
        with (
            pytest.raises(RuntimeError, match="would wait for itself"),
            executor.task_group() as group,
        ):
            future = group.submit(seven)
        assert future.cancelled() or future.exception() is not None
        with pytest.raises(RuntimeError, match="would wait for itself"):
            executor.shutdown()
        return await seven()

    assert run_in_parallel([waits]) == [7]


def test_run_in_parallel_blocks_no_event_loop(make_pool):
    make_pool(max_workers=1)

    async def view() -> None:
        run_in_parallel([double(1), double(2)])

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="await run_in_parallel_async"):
            asyncio.run(view())
        gc.collect()
    assert seen == []


def test_a_future_of_another_loop_is_refused(make_pool):
    make_pool(max_workers=1)
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(TypeError, match="belongs to an event loop"):
            run_in_parallel([loop.create_future()])
    finally:
        loop.close()


def test_a_coroutine_beside_something_that_is_no_task_is_closed(make_pool):
    make_pool(max_workers=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match="must be something to call"):
            run_in_parallel([double(1), 5])
        gc.collect()
    assert seen == []


def test_where_no_thread_can_be_started_the_caller_runs_them(make_pool, monkeypatch):
    make_pool(max_workers=1)
    monkeypatch.setattr(homes._process, "homes", {})  # noqa: SLF001 - as at first use

    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", cannot)
    assert run_in_parallel([name_of_thread, lambda: 1]) == ["MainThread", 1]
    assert current_executor().submit(double, 2).result() == 4


def test_background_coroutines_are_drained_before_the_process_exits(make_pool):
    pool = make_pool(max_workers=1, drain_timeout=30)
    done = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append(True)

    current_executor().background(work)
    pool.close()
    assert done == [True]


def test_what_is_left_at_the_end_of_the_drain_is_cancelled_and_may_clean_up(make_pool, caplog):
    pool = make_pool(max_workers=1, drain_timeout=0.05)
    with AsyncGate() as gate:
        future = current_executor().background(gate)
        wait_until(lambda: gate.inside == 1)
        pool.close()
        assert gate.cancelled == 1
    assert "left behind" in caplog.text
    assert future.exception() is not None


def test_a_task_that_waits_for_a_coroutine_that_waits_for_a_task_never_deadlocks(make_pool):
    make_pool(max_workers=1, max_coroutines=1)

    async def both(depth: int) -> int:
        if not depth:
            return 1
        return sum(
            await run_in_parallel_async(
                [partial(task, depth - 1), both(depth - 1), partial(both, depth - 1)]
            )
        )

    def task(depth: int) -> int:
        return sum(run_in_parallel([partial(both, depth), both(depth)]))

    def expected(depth: int) -> int:
        return 1 if not depth else 4 * expected(depth - 1)

    assert task(3) == 2 * expected(3)


def test_results_and_coroutines_are_let_go_of(make_pool):
    make_pool(max_workers=1)

    class Thing:
        pass

    async def make() -> Thing:
        return Thing()

    gc.collect()
    gc.disable()
    try:
        coroutine = make()
        seen = [weakref.ref(coroutine)]
        things = run_in_parallel([coroutine, make])
        seen += [weakref.ref(thing) for thing in things]
        del things, coroutine
        wait_until(lambda: not any(ref() for ref in seen))
    finally:
        gc.enable()


def test_a_forked_process_has_an_event_loop_of_its_own():
    done = run_python(
        """
        import asyncio, os, threading
        import commonpool.ext.asyncio
        from commonpool import run_in_parallel

        async def number():
            await asyncio.sleep(0.01)
            return os.getpid()

        assert run_in_parallel([number, number]) == [os.getpid()] * 2
        child = os.fork()
        if not child:
            assert run_in_parallel([number, number]) == [os.getpid()] * 2
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert run_in_parallel([number, number]) == [os.getpid()] * 2
        print("done")
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_a_process_ends_in_time_with_coroutines_that_never_do():
    done = run_python(
        """
        import asyncio
        import commonpool.ext.asyncio
        from commonpool import current_executor

        async def never():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        current_executor().background(never)
        """,
        COMMONPOOL_DRAIN_TIMEOUT="0.1",
    )
    assert done.returncode == 0
    assert "left behind" in done.stderr
