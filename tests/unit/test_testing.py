"""What the tests of applications get: an inline pool, and a fresh start."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from commonpool import (
    CommonPoolMiddleware,
    DeadlineExceeded,
    PoolConfig,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from commonpool.process import current_pool
from commonpool.testing import inline, reset
from tests.helpers import Gate


def app(environ: Any, _: Any) -> list[bytes]:
    environ["seen"] = environ["commonpool.executor"].deadline
    return []


class Trail:
    """Tasks that record in which order and on which threads they ran."""

    def __init__(self) -> None:
        self.names: list[Any] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, name: Any) -> Callable[[], Any]:
        def task() -> Any:
            self.names.append(name)
            self.threads.add(threading.current_thread())
            return name

        return task


@pytest.fixture
def trail() -> Trail:
    return Trail()


def run_a_fan_out(trail: Trail) -> None:
    assert run_in_parallel([trail(n) for n in range(50)]) == list(range(50))


def run_a_fan_out_with_a_time_limit(trail: Trail) -> None:
    assert run_in_parallel([trail(n) for n in range(50)], timeout=30) == list(range(50))


def run_single_tasks(trail: Trail) -> None:
    for n in range(50):
        current_executor().submit(trail(n))


def run_a_map(trail: Trail) -> None:
    assert list(current_executor().map(lambda n: trail(n)(), range(50))) == list(range(50))


def run_a_group(trail: Trail) -> None:
    with current_executor().task_group() as group:
        for n in range(50):
            group.submit(trail(n))


def run_background_work(trail: Trail) -> None:
    for n in range(50):
        current_executor().background(trail(n))


EVERYTHING = [
    run_a_fan_out,
    run_a_fan_out_with_a_time_limit,
    run_single_tasks,
    run_a_map,
    run_a_group,
    run_background_work,
]


@pytest.mark.parametrize("run", EVERYTHING)
def test_inline_runs_everything_in_order(trail, run):
    with inline():
        run(trail)
    assert trail.names == list(range(50))


@pytest.mark.parametrize("run", EVERYTHING)
def test_inline_runs_everything_in_the_caller(trail, run):
    before = threading.active_count()
    with inline():
        run(trail)
        assert threading.active_count() == before
    assert trail.threads == {threading.current_thread()}


def test_inline_runs_nested_fan_outs_depth_first(trail):
    def outer(name: str) -> Any:
        return lambda: (trail(name)(), run_in_parallel([trail(f"{name}{n}") for n in (1, 2)]))

    with inline():
        run_in_parallel([outer("a"), outer("b")])
    assert trail.names == ["a", "a1", "a2", "b", "b1", "b2"]


@pytest.mark.parametrize("submit", ["submit", "background"])
def test_inline_a_future_is_done_when_it_is_returned(submit):
    with inline():
        assert getattr(current_executor(), submit)(int).done()


def test_inline_an_error_is_kept_for_the_future():
    with inline():
        future = current_executor().submit(int, "x")
    assert isinstance(future.exception(), ValueError)


def test_inline_the_first_failure_stops_what_follows(trail):
    with inline(), pytest.raises(ZeroDivisionError):
        run_in_parallel([trail(1), lambda: 1 / 0, trail(3)])
    assert trail.names == [1]


def test_inline_a_group_that_has_failed_takes_nothing_more():
    with inline():
        group = current_executor().task_group()
        with pytest.raises(ZeroDivisionError), group:
            futures = [group.submit(task) for task in (lambda: 1 / 0, int)]
    with pytest.raises(TaskCancelled):
        futures[1].result()


def test_inline_deadlines_are_kept_between_tasks(trail):
    def until_it_is_too_late() -> None:
        ends_at = time.monotonic() + 0.01
        while time.monotonic() <= ends_at:
            pass

    with inline(), pytest.raises(DeadlineExceeded, match="1 had not started"):
        run_in_parallel([until_it_is_too_late, trail("never")], timeout=0.01)
    assert trail.names == []


def test_inline_yields_the_pool_for_its_stats():
    with inline() as pool:
        run_in_parallel([int] * 3)
        assert pool is current_pool()
    assert (pool.stats().run_by_callers, pool.stats().run_by_workers) == (3, 0)


def test_inline_in_inline_hands_back_the_outer_one():
    with inline() as outer:
        with inline() as inner:
            assert current_pool() is inner
        assert current_pool() is outer


def test_after_inline_the_pool_is_the_one_from_before():
    before = current_pool()
    with inline():
        pass
    assert current_pool() is before


def test_after_inline_a_pool_is_made_if_there_was_none():
    with inline() as pool:
        pass
    assert current_pool() is not pool
    assert not current_pool().stats().closed


def test_after_an_error_inline_is_over_too():
    with pytest.raises(KeyError), inline() as pool:
        raise KeyError
    assert current_pool() is not pool


def test_inline_holds_in_other_threads_too(trail):
    with inline():
        thread = threading.Thread(target=run_a_fan_out, args=(trail,))
        thread.start()
        thread.join()
    assert trail.threads == {thread}


def test_inline_a_config_that_conflicts_is_accepted_and_not_used():
    CommonPoolMiddleware(app, PoolConfig(max_workers=3))
    with inline() as pool:
        CommonPoolMiddleware(app, PoolConfig(max_workers=4))
        assert current_pool() is pool
    assert current_pool().stats().max_workers == 3


def test_a_request_that_was_served_inline_leaves_the_next_one_its_deadline():
    served = CommonPoolMiddleware(app, PoolConfig(deadline=60))
    environ: dict[str, Any] = {}
    with inline():
        served(dict(environ), None)
    served(environ, None)
    assert environ["seen"] < math.inf


def test_reset_closes_the_pool():
    pool = current_pool()
    reset()
    assert pool.stats().closed


def test_after_reset_the_next_use_makes_a_new_pool():
    pool = current_pool()
    reset()
    assert current_pool() is not pool
    assert run_in_parallel([int, int]) == [0, 0]


def test_reset_forgets_the_config():
    CommonPoolMiddleware(app, PoolConfig(max_workers=3))
    reset()
    CommonPoolMiddleware(app, PoolConfig(max_workers=4))
    assert current_pool().stats().max_workers == 4


def test_reset_without_a_pool_changes_nothing():
    reset()
    reset()
    assert run_in_parallel([int]) == [0]


def test_after_reset_an_executor_that_was_kept_goes_on_with_the_new_pool():
    executor = current_executor()
    executor.submit(int).result()
    reset()
    assert executor.submit(int, "5").result() == 5


def test_reset_lets_background_work_end():
    with Gate() as gate:
        future = current_executor().background(gate, "drained")
        gate.open()
        reset()
    assert future.result() == "drained"


def test_reset_inside_inline_leaves_it_inline():
    with inline() as pool:
        reset()
        still_inline = current_pool() is pool
        if not still_inline:
            current_pool().close()
    assert still_inline
