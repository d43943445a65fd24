"""Promise 2: it never deadlocks."""

from __future__ import annotations

import sys
from concurrent.futures import as_completed, wait

import pytest

from commonpool import current_executor, run_in_parallel


def leaves_by_fan_out(depth: int) -> int:
    if depth == 0:
        return 1
    return sum(run_in_parallel([lambda: leaves_by_fan_out(depth - 1)] * 3))


def leaves_by_wait(depth: int) -> int:
    if depth == 0:
        return 1
    futures = [current_executor().submit(leaves_by_wait, depth - 1) for _ in range(3)]
    done, _ = wait(futures)
    return sum(future.result() for future in done)


def leaves_by_as_completed(depth: int) -> int:
    if depth == 0:
        return 1
    futures = [current_executor().submit(leaves_by_as_completed, depth - 1) for _ in range(3)]
    return sum(future.result() for future in as_completed(futures))


def leaves_by_group_and_wait(depth: int) -> int:
    if depth == 0:
        return 1
    with current_executor().task_group() as group:
        futures = [group.submit(leaves_by_group_and_wait, depth - 1) for _ in range(3)]
        wait(futures)
    return sum(future.result() for future in futures)


def leaves_by_map(depth: int) -> int:
    if depth == 0:
        return 1
    return sum(current_executor().map(leaves_by_map, [depth - 1] * 3))


def leaves_by_with(depth: int) -> int:
    if depth == 0:
        return 1
    with current_executor() as executor:
        futures = [executor.submit(leaves_by_with, depth - 1) for _ in range(3)]
    assert all(future.done() for future in futures)
    return sum(future.result() for future in futures)


def leaves_by_background_and_wait(depth: int) -> int:
    if depth == 0:
        return 1
    executor = current_executor()
    futures = [executor.background(leaves_by_background_and_wait, depth - 1) for _ in range(3)]
    wait(futures)
    return sum(future.result() for future in futures)


@pytest.mark.parametrize("workers", [1, 2, 3, 32])
@pytest.mark.parametrize(
    "leaves",
    [
        leaves_by_fan_out,
        leaves_by_wait,
        leaves_by_as_completed,
        leaves_by_group_and_wait,
        leaves_by_map,
        leaves_by_with,
        leaves_by_background_and_wait,
    ],
)
def test_fan_outs_nest_on_a_pool_of_any_size(make_pool, workers, leaves):
    make_pool(max_workers=workers)
    assert leaves(4) == 3**4


def test_a_queue_of_one_place_is_enough(make_pool):
    make_pool(max_workers=2, max_queue=1)
    assert leaves_by_wait(4) == 3**4
    assert leaves_by_fan_out(4) == 3**4


def test_an_owner_at_its_cap_still_nests(make_pool):
    make_pool(max_workers=8, max_workers_per_request=1)
    assert leaves_by_wait(4) == 3**4
    assert leaves_by_fan_out(4) == 3**4


def depth_reached_by(nest) -> int:
    deepest = 0

    def down(level: int) -> None:
        nonlocal deepest
        deepest = max(deepest, level)
        nest(lambda: down(level + 1))

    with pytest.raises(RecursionError):
        down(0)
    return deepest


@pytest.mark.parametrize(
    "nest",
    [
        lambda fn: run_in_parallel([fn]),
        lambda fn: current_executor().submit(fn).result(),
        lambda fn: run_in_parallel([lambda: None, fn]),
    ],
    ids=["run_in_parallel", "submit", "second of two"],
)
def test_they_nest_as_deep_as_the_recursion_limit_allows(make_pool, nest):
    pool = make_pool(max_workers=1)
    # four frames for a level, one of them the task's, and what the test itself stands on
    assert depth_reached_by(nest) >= (sys.getrecursionlimit() - 200) // 6
    assert run_in_parallel([lambda: 1, lambda: 2]) == [1, 2]
    stats = pool.stats()
    assert (stats.queued, stats.owners_waiting, stats.abandoned) == (0, 0, 0)


def test_a_task_may_wait_for_one_that_was_submitted_before_it(make_pool):
    make_pool(max_workers=1)
    executor = current_executor()
    first = executor.submit(lambda: 1)
    second = executor.submit(lambda: wait([first]).done.pop().result() + 1)
    wait([second])
    assert second.result() == 2
