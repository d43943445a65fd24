"""Promises 5, 6 and 7: nothing outlives its request, deadlines are kept, nothing leaks."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import logging
import threading
import time
import traceback
from concurrent.futures import CancelledError, wait

import pytest

from commonpool import (
    DeadlineExceeded,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from commonpool.owner import current
from tests.helpers import Gate, wait_until

variable = contextvars.ContextVar("variable", default="untouched")


# 5. Nothing outlives its request by accident


def test_when_a_request_ends_its_unstarted_tasks_are_cancelled(make_pool, request_executor):
    pool = make_pool(max_workers=1, max_queue=5)
    executor = request_executor()
    ran = []
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        futures = [executor.submit(ran.append, n) for n in range(5)]
        executor.end()
        assert all(future.cancelled() for future in futures)
        with pytest.raises(TaskCancelled, match="request ended"):
            futures[0].result()
        assert pool.stats().cancelled == 5
        assert pool.stats().queued == 0
    assert not ran


def test_when_a_request_ends_its_started_tasks_are_abandoned(make_pool, request_executor, caplog):
    pool = make_pool(max_workers=2)
    executor = request_executor()
    with Gate() as gate:
        future = executor.submit(gate, "late")
        wait_until(lambda: gate.inside == 1)
        executor.end()
        assert pool.stats().abandoned == 1
        with pytest.raises(TaskCancelled, match="request ended"):
            future.result()
        assert "Gate" in caplog.text  # by name
        assert "in __call__" in caplog.text  # with its stack
    wait_until(lambda: pool.stats().abandoned == 0)
    with pytest.raises(CancelledError):  # the late result is dropped
        future.result()


def test_background_work_goes_on_after_its_request(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor()
    with Gate() as gate:
        future = executor.background(gate, "done")
        executor.end()
        wait_until(lambda: gate.inside == 1)
    assert future.result() == "done"


def test_background_work_sees_the_process_as_its_owner(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor()
    token = current.set(executor)
    try:
        seen = executor.background(current_executor)
    finally:
        current.reset(token)
    executor.end()
    assert seen.result() is current_executor()


def test_background_work_that_fails_is_logged(make_pool, caplog):
    make_pool(max_workers=1)
    future = current_executor().background(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        future.result()
    wait_until(lambda: "background task" in caplog.text)
    assert "ZeroDivisionError" in caplog.text


def test_closing_drains_background_work(make_pool):
    pool = make_pool(max_workers=1, max_queue=10)
    done = []
    for n in range(10):
        current_executor().background(done.append, n)
    pool.close(30)
    assert done == list(range(10))
    assert pool.stats().workers == 0


def test_closing_leaves_behind_what_does_not_end_in_time_and_names_it(make_pool, caplog):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        stuck = current_executor().background(gate)
        wait_until(lambda: gate.inside == 1)
        unstarted = current_executor().background(lambda: None)
        started_at = time.monotonic()
        pool.close(0.05)
        assert time.monotonic() - started_at < 5  # a hang, not a measure
        assert "left behind" in caplog.text
        assert "Gate" in caplog.text
        for future in (stuck, unstarted):
            with pytest.raises(RuntimeError, match="pool was closed"):
                future.result()


def test_closing_gives_unstarted_tasks_back_to_the_caller_that_waits_for_them(
    make_pool, request_executor
):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)

        def closing():
            threading.Thread(target=pool.close, args=(0,)).start()
            wait_until(lambda: pool.stats().closed)
            return "first"

        assert run_in_parallel([closing, lambda: "second"]) == ["first", "second"]


def test_closing_cancels_submitted_tasks_that_nobody_waits_for(make_pool, request_executor):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        future = request_executor().submit(lambda: 1)
        pool.close(0)
        assert future.cancelled()


def test_nobody_can_shut_the_process_s_pool_down(make_pool):
    pool = make_pool(max_workers=2)
    with current_executor() as executor:
        future = executor.submit(lambda: 1)
    assert future.done()
    executor.shutdown()
    assert not pool.stats().closed
    assert executor.submit(lambda: 2).result() == 2


def test_shutdown_can_cancel_what_has_not_started(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor()
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        future = executor.submit(lambda: 1)
        executor.shutdown(wait=False, cancel_futures=True)
        assert future.cancelled()


# 6. Deadlines (no database involved)


def test_a_fan_out_past_its_time_cancels_abandons_and_says_how_many(make_pool):
    pool = make_pool(max_workers=2)
    with Gate() as gate:
        barrier = threading.Barrier(3)

        def hold():
            barrier.wait(30)
            gate()

        def late():
            barrier.wait(30)
            return wait_until(lambda: pool.stats().abandoned == 2)

        with pytest.raises(DeadlineExceeded, match=r"2 of its tasks were running .* 5 had not"):
            # no third worker: the caller helps with the third, and finds the time over
            run_in_parallel([hold, hold, late, *[lambda: None] * 5], timeout=0.2)
    wait_until(lambda: pool.stats().abandoned == 0)


def test_a_caller_that_runs_a_task_itself_is_told_when_that_returns(make_pool, request_executor):
    make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        ends_at = time.monotonic() + 0.05
        with pytest.raises(DeadlineExceeded):
            run_in_parallel([lambda: wait_until(lambda: time.monotonic() > ends_at)], timeout=0.05)


def test_a_caller_that_sleeps_is_told_at_once(make_pool):
    make_pool(max_workers=4)
    with Gate() as gate:
        started_at = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            run_in_parallel([gate, gate], timeout=0.05)
        assert time.monotonic() - started_at < 5  # a hang, not a measure


def test_a_request_past_its_deadline_starts_nothing(make_pool, request_executor):
    make_pool(max_workers=2)
    executor = request_executor(time.monotonic() - 1)
    for start in (
        lambda: executor.submit(lambda: 1),
        lambda: in_request(executor, lambda: run_in_parallel([lambda: 1])),
        lambda: list(executor.map(lambda n: n, [1])),
    ):
        with pytest.raises(DeadlineExceeded, match="Nothing was started"):
            start()


def in_request(executor, fn):
    token = current.set(executor)
    try:
        return fn()
    finally:
        current.reset(token)


def test_when_the_deadline_of_a_request_passes_its_futures_are_settled(make_pool, request_executor):
    pool = make_pool(max_workers=1)
    executor = request_executor(time.monotonic() + 0.1)
    with Gate() as gate:
        started = executor.submit(gate)
        wait_until(lambda: gate.inside == 1)
        unstarted = executor.submit(lambda: 1)
        done, _ = wait([started, unstarted], timeout=30)
        assert len(done) == 2
        for future in done:
            with pytest.raises(DeadlineExceeded):
                future.result()
        assert pool.stats().abandoned == 1
        assert pool.stats().cancelled == 1


def test_a_deadline_does_not_touch_background_work(make_pool, request_executor):
    make_pool(max_workers=2)
    executor = request_executor(time.monotonic() + 0.1)
    with Gate() as gate:
        doomed = executor.submit(gate)
        kept = executor.background(gate, "kept")
        wait([doomed], timeout=30)
        assert not kept.done()
    assert kept.result() == "kept"


def test_what_a_task_starts_has_the_deadline_of_the_task(make_pool):
    make_pool(max_workers=8)

    def inner():
        with Gate() as gate:
            return run_in_parallel([gate, gate], timeout=3600)

    with pytest.raises(DeadlineExceeded):
        run_in_parallel([inner, inner], timeout=0.1)


def test_a_task_group_past_its_time_leaves_nothing_but_what_it_abandons(make_pool):
    pool = make_pool(max_workers=1)
    with Gate() as gate:

        def late():
            with current_executor().task_group(timeout=0.1) as group:
                started = group.submit(gate)
                wait_until(lambda: gate.inside == 1)
                wait([started, group.submit(lambda: 1)])

        with pytest.raises(DeadlineExceeded):
            late()
        assert pool.stats().queued == 0
        assert pool.stats().abandoned == 1
    wait_until(lambda: pool.stats().abandoned == 0)


def test_without_a_thread_for_the_watcher_callers_keep_their_own_time(make_pool):
    pool = make_pool(max_workers=2)
    run_in_parallel([lambda: None] * 2, timeout=30)  # the workers are there already
    wait_until(lambda: pool.stats().idle == pool.stats().workers == 2)
    pool.watcher.close(1)
    with Gate() as gate, pytest.raises(DeadlineExceeded):
        run_in_parallel([gate, gate], timeout=0.05)


def test_a_task_that_nobody_could_want_any_more_is_not_started(make_pool, request_executor):
    make_pool(max_workers=1)
    ran = []
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        late = request_executor(time.monotonic() + 0.05)
        future = late.submit(ran.append, 1)
        wait([future], timeout=30)
    with pytest.raises(DeadlineExceeded):
        future.result()
    assert not ran


# 7. Nothing leaks between requests or tasks


def test_every_task_runs_in_its_own_copy_of_the_context(make_pool):
    make_pool(max_workers=2)
    token = variable.set("the caller's")

    def task():
        seen = variable.get()
        variable.set("a task's")
        return seen

    try:
        assert run_in_parallel([task] * 20) == ["the caller's"] * 20
        assert variable.get() == "the caller's"
    finally:
        variable.reset(token)


def test_a_task_that_the_caller_runs_leaves_no_trace_in_its_context(make_pool):
    make_pool(max_workers=1)
    run_in_parallel([lambda: variable.set("a task's")])
    assert variable.get() == "untouched"


def test_a_worker_brings_nothing_from_one_task_to_the_next(make_pool):
    make_pool(max_workers=1)
    executor = current_executor()
    executor.submit(variable.set, "the first's").result(timeout=30)
    assert executor.submit(variable.get).result(timeout=30) == "untouched"


def test_the_first_failure_is_raised_as_itself_with_the_name_of_its_task(make_pool):
    make_pool(max_workers=2)

    class Odd(Exception):
        pass

    error = Odd()

    def fail():
        raise error

    with pytest.raises(Odd) as caught:
        run_in_parallel({"users": lambda: 1, "orders": fail})
    assert caught.value is error
    assert "in task 'orders' of a run_in_parallel" in caught.value.__notes__[0]
    assert "fail" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_the_first_failure_cancels_the_unstarted_and_waits_for_the_started(make_pool):
    pool = make_pool(max_workers=1)
    running, finished, ran = threading.Event(), threading.Event(), []
    gate = Gate()

    def started():
        running.set()
        gate()
        finished.set()

    def fail():
        running.wait(30)
        threading.Thread(target=open_when_cancelled).start()
        raise ZeroDivisionError

    def open_when_cancelled():
        wait_until(lambda: pool.stats().cancelled == 5)
        gate.open()

    with pytest.raises(ZeroDivisionError):
        run_in_parallel([fail, started, *[lambda: ran.append(1)] * 5])
    assert finished.is_set()
    assert not ran


def test_exceptions_can_be_returned_in_place_of_results(make_pool):
    make_pool(max_workers=2)
    results = run_in_parallel([lambda: 1, lambda: 1 / 0, lambda: 3], return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], ZeroDivisionError)
    assert results[2] == 3


def test_what_had_no_result_in_time_is_returned_as_the_deadline(make_pool):
    make_pool(max_workers=4)
    with Gate() as gate:
        results = run_in_parallel([lambda: 1, gate], timeout=0.2, return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], DeadlineExceeded)


def test_ctrl_c_in_a_helped_task_is_passed_on_at_once(make_pool):
    pool = make_pool(max_workers=1)

    def interrupted():
        wait_until(lambda: gate.inside == 1)
        raise KeyboardInterrupt

    with Gate() as gate:
        with pytest.raises(KeyboardInterrupt):
            run_in_parallel([interrupted, gate, gate])
        assert pool.stats().queued == 0
        assert pool.stats().abandoned == 1


def test_a_system_exit_in_a_worker_reaches_the_caller_and_spares_the_worker(make_pool):
    make_pool(max_workers=1)
    with pytest.raises(SystemExit):
        current_executor().submit(lambda: exec("raise SystemExit")).result(timeout=30)
    assert current_executor().submit(lambda: 1).result(timeout=30) == 1


def test_a_done_callback_that_raises_spares_the_worker(make_pool, caplog):
    make_pool(max_workers=1)
    with Gate() as gate:
        future = current_executor().submit(gate)

        def callback(_):
            raise SystemExit

        future.add_done_callback(callback)
    wait([future], timeout=30)
    assert current_executor().submit(lambda: 1).result(timeout=30) == 1
    wait_until(lambda: "done callback" in caplog.text)


def test_failures_leave_nothing_for_the_garbage_collector(make_pool):
    make_pool(max_workers=1)

    class Big:
        alive = 0

        def __init__(self):
            Big.alive += 1

        def __del__(self):
            Big.alive -= 1

    def fail():
        big = Big()
        raise ValueError(str(big))

    def request():
        with contextlib.suppress(ValueError):
            run_in_parallel([fail, lambda: 1])

    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            request()
        assert Big.alive == 0
    finally:
        gc.enable()


def test_a_worker_that_sleeps_keeps_nothing_of_its_last_task_alive(make_pool):
    pool = make_pool(max_workers=1)
    gone = threading.Event()

    class Big:
        def __del__(self):
            gone.set()

    current_executor().submit(type, Big()).result(timeout=30)
    wait_until(lambda: pool.stats().idle == 1)
    assert gone.wait(10)


def test_logging_is_what_a_reader_needs(make_pool, request_executor, caplog):
    """One record for each abandoned task, at level warning."""
    make_pool(max_workers=2)
    executor = request_executor()
    with Gate() as gate:
        for _ in range(2):
            executor.submit(gate)
        wait_until(lambda: gate.inside == 2)
        executor.end()
    records = [record for record in caplog.records if record.name == "commonpool"]
    assert [record.levelno for record in records] == [logging.WARNING] * 2


def test_a_future_tells_of_its_deadline_with_the_numbers(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor(time.monotonic() + 0.05)
    with Gate() as gate:
        future = executor.submit(gate)
        wait([future], timeout=30)
    with pytest.raises(DeadlineExceeded, match=r"1 of 1 workers busy"):
        future.result()
