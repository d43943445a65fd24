"""The pool is closed while somebody submits, at every position of either."""

from __future__ import annotations

from concurrent.futures import CancelledError

import pytest

from commonpool import OwnerExecutor, current_executor, run_in_parallel
from tests.helpers import Gate, wait_until
from tests.races.lying_lock import (
    LONG,
    LyingLock,
    Racer,
    Task,
    at_every_position,
    lie,
    race,
    race_a_worker,
)


def submit_and_wait(task):
    try:
        return current_executor().submit(task).result()
    except CancelledError:  # its pool was closed before anybody had started it
        assert task.times == 0
        return "cancelled"


def in_a_group(tasks):
    with current_executor().task_group() as group:
        futures = [group.submit(task) for task in tasks]
    return [future.result() for future in futures]


def submit(task):
    return submit_and_wait(task)


def fan_out(task):
    return run_in_parallel([task, Task(), Task()])[0]


def group(task):
    return in_a_group([task, Task()])[0]


def background(task):
    return current_executor().background(task).result()


WAYS = [submit, fan_out, group, background]


def assert_over(pool):
    stats = pool.stats()
    assert stats.closed
    assert stats.workers == stats.queued == stats.owners_waiting == stats.abandoned == 0


@pytest.mark.parametrize("way", WAYS)
def test_somebody_submits_and_the_pool_is_closed_meanwhile(make_pool, way):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=2)
        lock = lie(pool, position)
        task = Task()
        result, _ = race(lock, lambda: way(task), lambda: pool.close(LONG))
        assert (result, task.times) in [(1, 1), ("cancelled", 0)]
        assert result == 1 or way is submit
        assert_over(pool)
        return lock

    at_every_position(run)


@pytest.mark.parametrize("way", WAYS)
def test_the_pool_is_closed_and_somebody_submits_meanwhile(make_pool, way):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=2)
        current_executor().submit(Task()).result()
        lock = lie(pool, position)
        task = Task()
        _, result = race(lock, lambda: pool.close(LONG), lambda: way(task))
        assert (result, task.times) in [(1, 1), ("cancelled", 0)]
        assert result == 1 or way is submit
        assert_over(pool)
        return lock

    assert at_every_position(run) >= 6


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_on_its_way_while_the_pool_is_closed(make_pool, way):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position, "commonpool-1")
        task = Task()
        (result, _) = race_a_worker(
            lock,
            pool,
            lambda: current_executor().background(Task()),
            lambda: way(task),
            lambda: pool.close(LONG),
        )
        assert (result, task.times) in [(1, 1), ("cancelled", 0)]
        assert_over(pool)
        return lock

    assert at_every_position(run) >= 6


def test_two_threads_close_the_pool(make_pool):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=2)
        current_executor().submit(Task()).result()
        lock = lie(pool, position)
        assert race(lock, lambda: pool.close(LONG), lambda: pool.close(LONG)) == [None, None]
        assert_over(pool)
        return lock

    assert at_every_position(run) >= 6


def test_the_last_that_closing_waits_for_is_taken_by_its_caller(make_pool):
    pool = make_pool(max_workers=1)
    request = OwnerExecutor()
    with Gate() as gate, Gate() as block:
        request.submit(gate)
        wait_until(lambda: gate.inside)
        task = Task()

        def call():
            with current_executor().task_group() as group:
                future = group.submit(task)
                block()
            return future.result()

        caller = Racer(call)
        wait_until(lambda: block.inside)
        request.end()  # what the only worker runs is abandoned, and not waited for
        closer = Racer(lambda: pool.close(LONG))
        wait_until(lambda: pool.closed)
        block.open()
        assert caller.finish() == 1
        assert closer.finish() is None


def test_a_worker_starts_a_task_just_as_the_pool_is_closed_and_may_finish_it(make_pool):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position)
        with Gate() as first, Gate() as second:
            OwnerExecutor().submit(first)
            wait_until(lambda: first.inside)
            future = OwnerExecutor().submit(second, 1)

            def let_the_worker_come():
                first.open()
                wait_until(lambda: second.inside or future.done())

            race(lock, lambda: pool.shutdown(wait=False), let_the_worker_come)
            second.open()
            assert future.cancelled() or future.result() == 1
            assert second.passed == (not future.cancelled())
        pool.close(LONG)
        assert_over(pool)
        return lock

    assert at_every_position(run) >= 6
