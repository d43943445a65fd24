"""The guarantees of FairQueue, each in its own words."""

from __future__ import annotations

from collections import Counter

import pytest

from commonpool import CommonPool
from commonpool.fair_queue import FairQueue
from commonpool.task import FanOut, Owner, Task


@pytest.fixture
def pool():
    pool = CommonPool()
    yield pool
    pool.close(0)


@pytest.fixture
def fan_out_of(pool):
    def make(size: int, owner: Owner | None = None) -> FanOut:
        fan_out = FanOut(owner or Owner(pool), has_caller=True)
        fan_out.unstarted.extend(Task(lambda: None, fan_out) for _ in range(size))
        return fan_out

    return make


def take_all(queue: FairQueue) -> list[Task]:
    tasks = []
    while (task := queue.take()) is not None:
        tasks.append(task)
        queue.finish(task)
    return tasks


def test_at_most_capacity_tasks_hold_a_waiting_place(fan_out_of):
    queue = FairQueue(capacity=4, share=8)
    for _ in range(3):
        queue.enter(fan_out_of(3))
        assert queue.queued <= 4
    assert queue.queued == 4


def test_owners_take_turns(fan_out_of):
    queue = FairQueue(capacity=100, share=8)
    large, small = fan_out_of(50), fan_out_of(3)
    queue.enter(large)
    queue.enter(small)
    served = [task.fan_out.owner for task in take_all(queue)]
    assert served[:6] == [large.owner, small.owner] * 3


def test_no_owner_has_more_than_its_share_of_tasks_at_workers(fan_out_of):
    queue = FairQueue(capacity=100, share=2)
    greedy = fan_out_of(10)
    queue.enter(greedy)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert queue.take() is None
    assert not queue.ready
    queue.finish(first)
    assert queue.ready
    assert queue.take() is not None
    assert queue.take() is None


def test_within_an_owner_tasks_are_taken_in_the_order_in_which_they_came(fan_out_of):
    queue = FairQueue(capacity=100, share=8)
    first = fan_out_of(3)
    second = fan_out_of(2, first.owner)
    expected = [*first.unstarted, *second.unstarted]
    queue.enter(first)
    queue.enter(second)
    assert take_all(queue) == expected


def test_a_newcomer_to_a_full_queue_takes_places_of_the_owner_that_has_most(fan_out_of):
    queue = FairQueue(capacity=8, share=8)
    most, fewer = fan_out_of(6), fan_out_of(2)
    queue.enter(most)
    queue.enter(fewer)
    newcomer = fan_out_of(10)
    queue.enter(newcomer)
    assert (most.places, fewer.places, newcomer.places) == (3, 2, 3)
    assert queue.queued == 8


def test_an_owner_that_has_as_many_places_as_any_takes_none_from_others(fan_out_of):
    queue = FairQueue(capacity=2, share=8)
    one, other = fan_out_of(1), fan_out_of(1)
    queue.enter(one)
    queue.enter(other)
    newcomer = fan_out_of(5)
    assert queue.enter(newcomer) == 0
    assert (one.places, other.places) == (1, 1)


def test_while_a_place_is_free_no_task_is_without_one(fan_out_of):
    queue = FairQueue(capacity=4, share=8)
    large = fan_out_of(10)
    queue.enter(large)
    small = fan_out_of(2)
    queue.enter(small)
    assert (large.places, small.places) == (2, 2)
    queue.withdraw(small)
    assert large.places == 4


def test_a_displaced_task_gets_a_place_again_and_is_taken(fan_out_of):
    queue = FairQueue(capacity=2, share=8)
    waiting = [fan_out_of(1, owner) for owner in [Owner(fan_out_of(0).owner.pool)] * 2]
    for fan_out in waiting:
        queue.enter(fan_out)
    newcomer = fan_out_of(1)
    queue.enter(newcomer)
    assert sorted(f.places for f in waiting) == [0, 1]
    assert Counter(task.fan_out for task in take_all(queue)) == Counter([*waiting, newcomer])


def test_the_caller_claims_its_tasks_in_order_and_frees_their_places(fan_out_of):
    queue = FairQueue(capacity=4, share=8)
    fan_out = fan_out_of(6)
    expected = list(fan_out.unstarted)
    queue.enter(fan_out)
    assert [queue.claim_next(fan_out) for _ in range(6)] == expected
    assert queue.claim_next(fan_out) is None
    assert queue.queued == queue.owners_waiting == 0


def test_what_leaves_the_queue_keeps_its_tasks_for_its_caller(fan_out_of):
    queue = FairQueue(capacity=4, share=8)
    fan_out = fan_out_of(6)
    queue.enter(fan_out)
    queue.leave(fan_out)
    assert queue.queued == 0
    assert queue.take() is None
    assert len(fan_out.unstarted) == 6


def test_a_thousand_owners_are_each_served_once_in_a_round(fan_out_of):
    queue = FairQueue(capacity=5_000, share=8)
    for _ in range(1_000):
        queue.enter(fan_out_of(2))
    first_round = [task.fan_out.owner for task in (queue.take() for _ in range(1_000))]
    assert len(set(first_round)) == 1_000
