"""Promise 6: deadlines are kept (as far as no database is involved)."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import pytest

from commonpool import (
    DeadlineExceeded,
    current_executor,
    run_in_parallel,
)
from commonpool.owner import current
from tests.helpers import Gate, wait_until


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
            run_in_parallel([hold, hold, late, *[lambda: None] * 5], timeout=1.0)
    wait_until(lambda: pool.stats().abandoned == 0)


def test_a_caller_that_runs_a_task_itself_is_told_when_that_returns(make_pool, request_executor):
    make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)

        def late():
            ends_at = time.monotonic() + 0.05  # the fan-out's time began before this
            return wait_until(lambda: time.monotonic() > ends_at)

        with pytest.raises(DeadlineExceeded):
            run_in_parallel([late], timeout=0.05)


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
    executor = request_executor(time.monotonic() + 0.4)
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
    executor = request_executor(time.monotonic() + 0.4)
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
            with current_executor().task_group(timeout=0.4) as group:
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
        late = request_executor(time.monotonic() + 0.4)
        future = late.submit(ran.append, 1)
        wait([future], timeout=30)
    with pytest.raises(DeadlineExceeded):
        future.result()
    assert not ran


def test_a_future_tells_of_its_deadline_with_the_numbers(make_pool, request_executor):
    make_pool(max_workers=1)
    executor = request_executor(time.monotonic() + 0.4)
    with Gate() as gate:
        future = executor.submit(gate)
        wait([future], timeout=30)
    with pytest.raises(DeadlineExceeded, match=r"1 of 1 workers busy"):
        future.result()
