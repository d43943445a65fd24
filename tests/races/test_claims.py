"""A worker, its caller and a cancel want the same task, at every position of each of them."""

from __future__ import annotations

import pytest

from commonpool import OwnerExecutor, TaskCancelled, current_executor, run_in_parallel
from tests.helpers import Gate, wait_until
from tests.races.lying_lock import (
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


def assert_once(task, future, outcomes):
    """The task has run, or was cancelled, and everyone was told the same."""
    assert future.done()
    if future.cancelled():
        assert task.times == 0
        assert outcomes["cancel"] is True
        assert isinstance(outcomes["result"], TaskCancelled)
    else:
        assert task.times == 1
        assert outcomes["cancel"] is False
        assert outcomes["result"] == 1


@pytest.mark.parametrize("order", [("result", "cancel"), ("cancel", "result")], ids="-".join)
def test_a_worker_on_its_way_to_a_task_that_is_waited_for_and_cancelled(make_pool, order):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position, WORKER)
        task, futures = Task(), []
        actions = {
            "result": lambda: futures[0].result(),  # noqa: PLW0108 - there is none yet
            "cancel": lambda: futures[0].cancel(),  # noqa: PLW0108
        }
        came = race_a_worker(
            lock,
            pool,
            lambda: futures.append(current_executor().submit(task)),
            *[actions[name] for name in order],
        )
        assert_once(task, futures[0], dict(zip(order, came, strict=True)))
        assert_settled(pool)
        return lock

    assert at_every_position(run) >= 6


@pytest.mark.parametrize("victim", ["result", "cancel"])
@pytest.mark.parametrize("worker_first", [True, False])
def test_a_caller_on_its_way_to_a_task_that_a_worker_comes_for(make_pool, victim, worker_first):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position)
        with Gate() as gate:
            # another request's: the worker takes the task as soon as this one is done
            busy = OwnerExecutor().submit(gate)
            wait_until(lambda: gate.inside)
            task = Task()
            future = current_executor().submit(task)
            actions = {"result": future.result, "cancel": future.cancel}
            (other,) = set(actions) - {victim}

            def let_the_worker_come():
                gate.open()
                busy.result()

            others = [let_the_worker_come, actions[other]]
            came = race(lock, actions[victim], *(others if worker_first else others[::-1]))
            position_of_other = 2 if worker_first else 1
            assert_once(task, future, {victim: came[0], other: came[position_of_other]})
        assert_settled(pool)
        return lock

    at_every_position(run)


def test_a_caller_on_its_way_through_its_own_fan_out_while_workers_take_from_it(make_pool):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=2)
        lock = lie(pool, position)
        tasks = [Task() for _ in range(4)]
        came = race(
            lock,
            lambda: run_in_parallel(tasks),
            lambda: run_in_parallel([Task() for _ in range(3)]),
        )
        assert came == [[1] * 4, [1] * 3]
        assert [task.times for task in tasks] == [1] * 4
        assert_settled(pool)
        return lock

    assert at_every_position(run) >= 6


def test_three_callers_of_one_future_that_a_worker_comes_for(make_pool):
    def run(position: int) -> LyingLock:
        pool = make_pool(max_workers=1)
        lock = lie(pool, position)
        with Gate() as gate:
            OwnerExecutor().submit(gate)
            wait_until(lambda: gate.inside)
            task = Task()
            future = current_executor().submit(task)
            came = race(
                lock,
                future.result,
                lambda: future.result(timeout=PATIENCE),
                gate.open,
                future.result,
            )
        assert came == [1, 1, None, 1]
        assert task.times == 1
        assert_settled(pool)
        return lock

    at_every_position(run)
