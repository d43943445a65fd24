"""A deadline passes, or a request ends, while its tasks end: at every position of either."""

from __future__ import annotations

import pytest

from commonpool import DeadlineExceeded, OwnerExecutor, TaskCancelled, run_in_parallel
from commonpool.owner import current
from tests.helpers import Gate, wait_until
from tests.races.lying_lock import (
    LONG,
    PATIENCE,
    LyingLock,
    Task,
    assert_settled,
    at_every_position,
    lie,
    race,
    race_a_worker,
)

WORKER = "commonpool-1"


def expire(executor):
    """What the watcher does when a deadline has passed."""
    for fan_out in list(executor.owner.fan_outs):
        executor.pool.expire(fan_out)


def end(executor):
    """What the middleware does when a response is closed."""
    executor.end()


ENDINGS = {expire: DeadlineExceeded, end: TaskCancelled}


def outcome(future):
    """What a future ends with; a wait that does not end is a failure."""
    try:
        return future.result(PATIENCE)
    except (DeadlineExceeded, TaskCancelled) as error:
        return type(error)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_worker_brings_a_result_and_the_time_is_up_meanwhile(make_pool, ending):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position, WORKER)
        executor, task, futures = OwnerExecutor(), Task(), []
        race_a_worker(
            lock, pool, lambda: futures.append(executor.submit(task)), lambda: ending(executor)
        )
        kind = outcome(futures[0])
        assert futures[0].done()
        assert kind in ([1, ENDINGS[ending]] if task.times else [TaskCancelled, ENDINGS[ending]])
        assert task.times <= 1
        assert_settled(pool)
        assert not executor.owner.fan_outs
        return lock

    assert at_every_position(run) >= 6


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("waiting", [True, False])
def test_the_time_is_up_and_a_worker_brings_a_result_meanwhile(make_pool, ending, waiting):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position)
        executor = OwnerExecutor()
        with Gate() as gate:
            running = executor.submit(gate, 1)
            wait_until(lambda: gate.inside)
            task = Task()
            queued = executor.submit(task)
            readers = [lambda: outcome(queued)] if waiting else []
            race(lock, lambda: ending(executor), *readers, gate.open)
            assert outcome(running) in [1, ENDINGS[ending]]
            kind = outcome(queued)
            assert kind in (
                [1, ENDINGS[ending]] if task.times else [TaskCancelled, ENDINGS[ending]]
            )
        assert task.times <= 1
        assert_settled(pool)
        return lock

    assert at_every_position(run) >= 3


def test_a_caller_waits_for_its_fan_out_and_the_time_is_up_meanwhile(make_pool):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=2)
        lock = lie(pool, position)
        tasks = [Task() for _ in range(3)]
        executor = OwnerExecutor()

        def call():
            current.set(executor)  # in this thread's own context
            return run_in_parallel(tasks, timeout=LONG)

        results, _ = race(lock, call, lambda: expire(executor))
        if results != [1, 1, 1]:
            assert isinstance(results, DeadlineExceeded)
        assert all(task.times <= 1 for task in tasks)
        assert_settled(pool)
        assert not executor.owner.fan_outs
        return lock

    assert at_every_position(run) >= 6
