"""Races, each forced: threads are switched at every chance that there is."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections import Counter
from concurrent.futures import CancelledError, wait

import pytest

from commonpool import (
    DeadlineExceeded,
    OwnerExecutor,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from tests.helpers import wait_until

ROUNDS = 300


@pytest.fixture(autouse=True)
def switch_at_every_chance():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class Count:
    """A task that counts how often it runs."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return self.times


def settled(pool):
    def check():
        stats = pool.stats()
        return (
            stats.queued == stats.abandoned == stats.owners_waiting == 0
            and stats.idle == stats.workers
        )

    wait_until(check)


def at_once(*functions):
    """Call functions at the same time, each in a thread; what they returned or raised."""
    barrier = threading.Barrier(len(functions))
    outcomes = [None] * len(functions)

    def call(number, function):
        barrier.wait(10)
        try:
            outcomes[number] = function()
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return outcomes


def test_claim_a_worker_and_several_callers_want_the_same_task(make_pool):
    pool = make_pool(max_workers=2)
    for _ in range(ROUNDS):
        task = Count()
        future = current_executor().submit(task)
        assert at_once(future.result, lambda f=future: f.result(10), future.exception)[:2] == [1, 1]
        assert task.times == 1
    settled(pool)


def test_cancel_against_run(make_pool):
    pool = make_pool(max_workers=2)
    cancelled = 0
    for _ in range(ROUNDS):
        task = Count()
        future = current_executor().submit(task)
        outcome, was_cancelled = at_once(future.result, future.cancel)
        cancelled += was_cancelled
        if was_cancelled:
            assert isinstance(outcome, TaskCancelled)
            assert task.times == 0
        else:
            assert outcome == task.times == 1
    assert pool.stats().cancelled == cancelled
    settled(pool)


def test_the_end_of_a_request_against_submit(make_pool):
    pool = make_pool(max_workers=2)
    for _ in range(ROUNDS):
        executor = OwnerExecutor()
        executor.submit(int).result()
        future, _ = at_once(lambda e=executor: e.submit(Count()), executor.end)
        with contextlib.suppress(CancelledError):
            assert future.result(10) == 1
    settled(pool)


def test_the_deadline_against_completion(make_pool):
    pool = make_pool(max_workers=2)
    outcomes: Counter[str] = Counter()
    for delay in itertools.islice(itertools.cycle([2e-5, 5e-5, 1e-4, 5e-4, 5e-3]), ROUNDS):
        tasks = [Count(), Count(), Count()]
        try:
            assert run_in_parallel(tasks, timeout=delay) == [1, 1, 1]
            outcomes["in time"] += 1
        except DeadlineExceeded:
            outcomes["late"] += 1
        assert all(task.times <= 1 for task in tasks)
    settled(pool)
    assert set(outcomes) == {"in time", "late"}


def test_the_deadline_of_a_request_against_the_completion_of_its_futures(make_pool):
    pool = make_pool(max_workers=2)
    for delay in itertools.islice(itertools.cycle([1e-3, 1.1e-3, 1.3e-3, 2e-3]), ROUNDS):
        executor = OwnerExecutor(pool.clock() + delay)
        try:
            futures = [executor.submit(Count()) for _ in range(5)]
        except DeadlineExceeded:
            continue
        done, not_done = wait(futures, timeout=30)
        assert not not_done
        for future in done:
            assert future.exception() is None or isinstance(future.exception(), DeadlineExceeded)
        executor.end()
    settled(pool)


def test_close_against_submit_and_fan_out(make_pool):
    for _ in range(ROUNDS // 10):
        pool = make_pool(max_workers=3)
        executor = current_executor()
        fan_out, future, background, _ = at_once(
            lambda: run_in_parallel([Count() for _ in range(20)]),
            lambda e=executor: e.submit(Count()),
            lambda e=executor: e.background(Count()),
            lambda p=pool: p.close(10),
        )
        assert fan_out == [1] * 20
        assert background.result(10) == 1
        with contextlib.suppress(CancelledError):
            assert future.result(10) == 1
        assert pool.stats().workers == pool.stats().queued == 0


def test_a_failure_against_the_rest_of_its_fan_out(make_pool):
    pool = make_pool(max_workers=3)

    def fail():
        raise ZeroDivisionError

    for _ in range(ROUNDS):
        tasks = [Count(), Count(), fail, Count(), fail, Count()]
        with pytest.raises(ZeroDivisionError):
            run_in_parallel(tasks)
        assert all(task.times <= 1 for task in tasks if isinstance(task, Count))
    settled(pool)


def test_displacement_against_claims(make_pool):
    pool = make_pool(max_workers=2, max_queue=3)
    for _ in range(ROUNDS // 3):
        outcomes = at_once(
            *[lambda: run_in_parallel([Count() for _ in range(10)]) for _ in range(4)],
            lambda: [f.result() for f in [current_executor().submit(Count()) for _ in range(10)]],
        )
        assert outcomes == [[1] * 10] * 5
    settled(pool)


def test_a_worker_falls_asleep_just_as_a_task_comes(make_pool):
    pool = make_pool(max_workers=1)
    for _ in range(ROUNDS * 3):
        _, not_done = wait([current_executor().submit(Count())], timeout=10)
        assert not not_done
    settled(pool)
