"""Promise 7: nothing leaks between requests or tasks."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import traceback
from concurrent.futures import wait

import pytest

from commonpool import (
    DeadlineExceeded,
    current_executor,
    run_in_parallel,
)
from tests.helpers import Gate, wait_until

variable = contextvars.ContextVar("variable", default="untouched")


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
