"""The executors as what they are subclasses of, and as what a request may do with them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    ThreadPoolExecutor,
    as_completed,
    wait,
)

import pytest

from commonpool import (
    CommonPool,
    DeadlineExceeded,
    PoolConfig,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from tests.helpers import Gate, wait_until


def test_both_are_what_takes_a_thread_pool_executor_asks_for(make_pool):
    pool = make_pool(max_workers=2)
    assert isinstance(pool, ThreadPoolExecutor)
    assert isinstance(current_executor(), ThreadPoolExecutor)


@pytest.mark.parametrize("which", ["pool", "owner"])
def test_asyncio_takes_it_as_its_default_executor(make_pool, which):
    pool = make_pool(max_workers=2)
    executor = pool if which == "pool" else current_executor()

    async def main():
        asyncio.get_running_loop().set_default_executor(executor)
        return await asyncio.gather(*[asyncio.to_thread(threading.get_ident) for _ in range(5)])

    assert threading.get_ident() not in asyncio.run(main())


def test_a_pool_of_one_s_own_is_closed_by_its_with_block():
    with CommonPool(PoolConfig(max_workers=2)) as pool:
        futures = [pool.submit(pow, n, 2) for n in range(5)]
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    assert [future.result() for future in futures] == [0, 1, 4, 9, 16]
    assert pool.stats().closed


def test_futures_work_with_wait_and_as_completed(make_pool):
    make_pool(max_workers=2)
    executor = current_executor()
    with Gate() as gate:
        quick, held = executor.submit(lambda: 1), executor.submit(gate)
        done, not_done = wait([quick, held], timeout=30, return_when=FIRST_COMPLETED)
        assert (done, not_done) == ({quick}, {held})
    assert wait([quick, held], timeout=30, return_when=ALL_COMPLETED).done == {quick, held}
    assert set(as_completed([quick, held], timeout=30)) == {quick, held}


def test_a_future_tells_whether_it_runs_and_whether_it_is_done(make_pool, request_executor):
    make_pool(max_workers=1)
    with Gate() as gate:
        running = request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        waiting = request_executor().submit(gate)
        assert (running.running(), running.done(), running.cancel()) == (True, False, False)
        assert (waiting.running(), waiting.done()) == (False, False)
        assert "running" in repr(running)
        assert "unstarted" in repr(waiting)
        assert waiting.cancel()
        assert waiting.cancelled()
        assert "done" in repr(waiting)
        with pytest.raises(TaskCancelled, match="cancelled before it started"):
            waiting.exception()
    assert running.exception(timeout=30) is None
    assert not running.cancel()


def test_a_callback_is_called_with_the_future(make_pool):
    make_pool(max_workers=1)
    seen = threading.Event()
    future = current_executor().submit(lambda: 1)
    future.add_done_callback(lambda done: done is future and seen.set())
    assert seen.wait(30)


def test_map_gives_results_in_order_and_stops_like_zip(make_pool):
    make_pool(max_workers=3)
    assert list(current_executor().map(pow, range(10), [2] * 7)) == [n * n for n in range(7)]


def test_map_reads_no_more_of_its_arguments_than_its_buffer_holds(make_pool):
    make_pool(max_workers=2)
    read = []

    def endless():
        n = 0
        while True:
            read.append(n)
            yield n
            n += 1

    results = current_executor().map(lambda n: n, endless(), buffersize=3)
    assert len(read) == 3
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(read) == 8
    results.close()


def test_map_that_is_left_early_cancels_the_rest(make_pool, request_executor):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        results = current_executor().map(lambda n: n, range(4))
        assert next(results) == 0
        results.close()
        assert pool.stats().cancelled == 3
        assert pool.stats().queued == 0


def test_map_keeps_its_time(make_pool):
    make_pool(max_workers=2)
    with Gate() as gate, pytest.raises(TimeoutError):
        list(current_executor().map(gate, range(2), timeout=0.05))


def test_map_raises_what_a_call_raises_when_its_turn_comes(make_pool):
    make_pool(max_workers=2)
    results = current_executor().map(lambda n: 1 // n, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_task_group_is_over_when_its_block_is(make_pool):
    make_pool(max_workers=2)
    with current_executor().task_group() as group:
        futures = [group.submit(pow, n, 2) for n in range(10)]
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="inside its with block"):
        group.submit(int)
    with pytest.raises(RuntimeError, match="used once"):
        group.__enter__()


def test_a_failing_block_cancels_what_its_group_has_not_started(make_pool, request_executor):
    pool = make_pool(max_workers=1)
    ran = []

    def block():
        with current_executor().task_group() as group:
            group.submit(ran.append, 1)
            raise KeyError("the block's own")

    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        with pytest.raises(KeyError, match="the block's own"):
            block()
        assert pool.stats().queued == 0
    assert not ran


def test_a_failing_task_cancels_its_siblings_and_fails_the_group(make_pool, request_executor):
    make_pool(max_workers=1)
    futures = []

    def block():
        with current_executor().task_group() as group:
            futures.append(group.submit(lambda: 1 / 0))
            futures.append(group.submit(lambda: 1))

    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        with pytest.raises(ZeroDivisionError) as caught:
            block()
    assert "in task 1 of 2 of a task group" in caught.value.__notes__[0]
    assert futures[1].cancelled()


def test_what_is_submitted_to_a_group_that_has_failed_is_cancelled(make_pool):
    make_pool(max_workers=1)

    def block():
        with current_executor().task_group() as group:
            wait([group.submit(lambda: 1 / 0)])
            late = group.submit(lambda: 1)
            assert late.cancelled()
            with pytest.raises(TaskCancelled, match="group has ended"):
                late.result()

    with pytest.raises(ZeroDivisionError):
        block()


def test_a_task_may_submit_to_its_own_group(make_pool):
    make_pool(max_workers=1)
    inner = []
    with current_executor().task_group() as group:
        group.submit(lambda: inner.append(group.submit(lambda: "inner")))
    assert inner[0].result() == "inner"


def test_an_executor_tells_its_deadline(make_pool, request_executor):
    make_pool(max_workers=1)
    assert request_executor(123.0).deadline == 123.0
    assert current_executor().deadline == float("inf")


def test_the_pool_tells_its_state_in_a_line(make_pool, request_executor):
    pool = make_pool(max_workers=2, max_queue=3)
    with Gate() as gate:
        for _ in range(2):
            request_executor().submit(gate)
        wait_until(lambda: gate.inside == 2)
        request_executor().submit(gate)
        assert repr(pool) == (
            "<CommonPool 2 of 2 workers started (2 busy, 0 idle, 0 abandoned), "
            "1 of 3 waiting places taken by 1 owners, 2 tasks run by workers, 0 by callers, "
            "0 rejected, 0 cancelled, 0 failed>"
        )


def test_a_deadline_error_tells_the_load(make_pool):
    make_pool(max_workers=2)
    with Gate() as gate, pytest.raises(DeadlineExceeded, match=r"2 of 2 workers busy, 0 of 8"):
        run_in_parallel([gate, gate], timeout=0.3)


def test_a_pool_of_one_s_own_can_be_shut_down_without_waiting():
    pool = CommonPool(PoolConfig(max_workers=1))
    with Gate() as gate:
        futures = [pool.submit(gate, n) for n in range(3)]
        wait_until(lambda: gate.inside == 1)
        pool.shutdown(wait=False)
        assert pool.submit(threading.get_ident).result() == threading.get_ident()
    assert [future.result() for future in futures] == [0, 1, 2]
    wait_until(lambda: pool.stats().workers == 0)
    pool.watcher.close(1)


def test_shutting_a_pool_down_can_cancel_what_has_not_started():
    pool = CommonPool(PoolConfig(max_workers=1))
    gate = Gate()
    held = pool.submit(gate)
    wait_until(lambda: gate.inside == 1)
    waiting = pool.submit(gate)
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    gate.open()
    assert held.exception() is None
    wait_until(lambda: pool.stats().workers == 0)


def test_a_pool_of_one_s_own_can_be_shut_down_by_a_task_of_its_own():
    pool = CommonPool(PoolConfig(max_workers=1))
    wait([pool.submit(pool.shutdown)], timeout=30)
    wait_until(lambda: pool.stats().workers == 0)


def test_ctrl_c_in_a_task_that_submit_runs_at_once_is_passed_on(make_pool):
    make_pool(max_workers=1).close(0)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        current_executor().submit(interrupted)
