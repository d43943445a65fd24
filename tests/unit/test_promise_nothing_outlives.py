"""Promise 5: nothing outlives its request by accident."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
from concurrent.futures import CancelledError

import pytest

from commonpool import (
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from commonpool.owner import current
from tests.helpers import Gate, wait_until


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


@pytest.fixture
def claimed_gate(make_pool, request_executor):
    """A gate at which a thread stands that waits for background work, and so runs it itself."""
    pool = make_pool(max_workers=1)
    with Gate() as busy, Gate() as gate:
        request = request_executor()
        request.submit(busy)
        wait_until(lambda: busy.inside == 1)
        future = current_executor().background(gate)
        waiting = threading.Thread(target=future.exception)
        waiting.start()
        wait_until(lambda: gate.inside == 1)
        request.end()  # closing does not wait for what it has abandoned
        yield pool, gate
    waiting.join()


def test_closing_drains_background_work_that_a_waiting_thread_has_claimed(claimed_gate):
    pool, gate = claimed_gate
    closing = threading.Thread(target=pool.close, args=(30,))
    closing.start()
    wait_until(lambda: pool.closed)
    closing.join(0.05)
    assert closing.is_alive()
    gate.open()
    closing.join(30)
    assert gate.passed == 1


def test_closing_leaves_behind_what_a_waiting_thread_runs_and_names_it(claimed_gate, caplog):
    pool, _ = claimed_gate
    pool.close(0.05)
    assert re.search(r"left behind.* running: .*Gate.* on a thread that waits for it", caplog.text)


def test_a_task_that_its_waiting_caller_runs_may_close_the_pool(make_pool, request_executor):
    pool = make_pool(max_workers=1)
    with Gate() as busy:
        request = request_executor()
        request.submit(busy)
        wait_until(lambda: busy.inside == 1)
        future = current_executor().background(lambda: pool.close(30))
        request.end()
        started_at = time.monotonic()
        future.result()
        assert time.monotonic() - started_at < 15  # it would wait for itself


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


def test_logging_is_what_a_reader_needs(make_pool, request_executor, caplog):
    """One record for each abandoned task, at level warning."""
    make_pool(max_workers=2)
    executor = request_executor()
    gc.collect()  # what others have left is told of here, not below
    caplog.clear()
    with Gate() as gate:
        for _ in range(2):
            executor.submit(gate)
        wait_until(lambda: gate.inside == 2)
        executor.end()
    records = [record for record in caplog.records if record.name == "commonpool"]
    assert [record.levelno for record in records] == [logging.WARNING] * 2
