"""The guarantees of Demand, each in its own words: in the queue, and in the pool."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from commonpool import CommonPool, OwnerExecutor, PoolConfig, run_in_parallel
from commonpool.demand import LATELY, Demand
from commonpool.fair_queue import FairQueue
from commonpool.owner import current
from commonpool.process import replacing
from commonpool.task import FanOut, Owner, Task
from tests.helpers import Gate, wait_until
from tests.unit.test_promise_bounded import in_thread
from tests.unit.watcher_helpers import look

WORKERS = 8
SMALL = 2  # what a small request wants
MANY = 3  # of them at once


@pytest.fixture
def pool():
    pool = CommonPool()
    yield pool
    pool.close(0)


@pytest.fixture
def demand(clock):
    return Demand(WORKERS, clock)


@pytest.fixture
def queue(demand):
    return FairQueue(capacity=1_000, share=WORKERS, demand=demand)


@pytest.fixture
def fan_out_of(pool):
    def make(size: int) -> FanOut:
        fan_out = FanOut(Owner(pool), has_caller=True)
        fan_out.unstarted.extend(Task(lambda: None, fan_out) for _ in range(size))
        return fan_out

    return make


@pytest.fixture
def small_ones(queue, fan_out_of, clock):
    """Has small requests want workers for so many seconds; what they have at workers."""

    def come(seconds: float) -> list[Task]:
        for _ in range(MANY):
            queue.enter(fan_out_of(SMALL))
        tasks = take_all(queue)
        clock.now += seconds
        return tasks

    return come


def take_all(queue: FairQueue) -> list[Task]:
    """All tasks that workers may have now; they go on running."""
    tasks = []
    while len(tasks) < WORKERS and (task := queue.take()) is not None:
        tasks.append(task)
    return tasks


def finish(queue: FairQueue, tasks: list[Task]) -> None:
    for task in tasks:
        queue.finish(task)


def test_who_is_alone_may_have_all_workers(queue, fan_out_of):
    queue.enter(fan_out_of(100))
    assert len(take_all(queue)) == WORKERS
    assert not queue.holds_back


def test_who_was_alone_of_late_may_have_all_workers(queue, small_ones, fan_out_of, clock):
    finish(queue, small_ones(10 * LATELY))
    clock.now += 10 * LATELY
    queue.enter(fan_out_of(100))
    assert len(take_all(queue)) == WORKERS


def test_who_wants_more_than_is_usual_leaves_room_for_what_the_others_have_lately_wanted(
    queue, small_ones, fan_out_of
):
    finish(queue, small_ones(10 * LATELY))
    large = fan_out_of(100)
    queue.enter(large)
    assert len(take_all(queue)) == WORKERS - MANY * SMALL
    assert queue.holds_back
    assert not queue.ready


def test_that_room_is_there_for_those_who_come(queue, small_ones, fan_out_of):
    finish(queue, small_ones(10 * LATELY))
    queue.enter(fan_out_of(100))
    take_all(queue)
    for _ in range(MANY):
        queue.enter(fan_out_of(SMALL))
    assert {task.fan_out.owner.wants for task in take_all(queue)} == {SMALL}


def test_who_wants_no_more_than_is_usual_may_have_all_that_are_free(queue, small_ones, fan_out_of):
    finish(queue, small_ones(10 * LATELY))
    one_more = fan_out_of(2 * SMALL)
    queue.enter(one_more)
    assert len(take_all(queue)) == 2 * SMALL


def test_who_asks_for_workers_one_after_another_is_as_large_as_who_asks_for_them_at_once(
    pool, clock
):
    usual = []
    for parts in ([2], [1, 1]):
        demand = Demand(WORKERS, clock)
        for _ in range(20):
            owner = Owner(pool)
            for part in parts:
                demand.came(owner, part)
            assert not owner.is_large
            demand.left(owner)
        large = Owner(pool)
        for part in parts:
            demand.came(large, 4 * part)
        assert large.is_large
        usual.append(demand.usual)
    assert usual == pytest.approx([usual[0]] * len(usual))


def test_what_comes_back_to_the_queue_is_wanted_no_more_than_before(queue, fan_out_of):
    fan_out = fan_out_of(SMALL)
    queue.enter(fan_out)
    for _ in range(3):
        task = queue.take()
        queue.finish(task)
        fan_out.unstarted.appendleft(task)
        queue.enter(fan_out, again=True)
    assert fan_out.owner.wants == SMALL
    for task in take_all(queue):
        queue.finish(task)
    fan_out.unstarted.append(task)
    queue.enter(fan_out, again=True)  # all were gone meanwhile
    assert fan_out.owner.wants == 1


def test_where_all_want_alike_nobody_is_held_back(queue, fan_out_of, clock):
    for _ in range(20):
        fan_outs = [fan_out_of(2 * WORKERS) for _ in range(4)]
        for fan_out in fan_outs:
            queue.enter(fan_out)
        clock.now += LATELY
        running = take_all(queue)
        assert len(running) == WORKERS
        assert not queue.holds_back
        finish(queue, running)
        for fan_out in fan_outs:
            queue.withdraw(fan_out)


def test_who_is_held_back_has_an_equal_part_of_the_workers_and_one_at_least(
    queue, fan_out_of, clock
):
    for owners in (3, 3 * WORKERS):
        small = [fan_out_of(WORKERS) for _ in range(owners)]
        for fan_out in small:
            queue.enter(fan_out)
        clock.now += 20 * LATELY
        assert queue.demand.limit() == max(1, math.ceil(WORKERS / (owners + 1)))
        for fan_out in small:
            queue.withdraw(fan_out)


def test_several_large_ones_leave_that_room_together(queue, small_ones, fan_out_of):
    finish(queue, small_ones(10 * LATELY))
    large = [fan_out_of(100) for _ in range(3)]
    for fan_out in large:
        queue.enter(fan_out)
    running = take_all(queue)
    assert len(running) == max(WORKERS - MANY * SMALL, math.ceil(WORKERS * 3 / (3 + MANY)))
    assert {task.fan_out for task in running} == set(large)  # in turn
    queue.finish(running[0])
    assert queue.take().fan_out is large[len(running) % 3]
    assert queue.take() is None


def test_nobody_is_held_back_any_more_when_the_pool_closes(queue, small_ones, fan_out_of):
    finish(queue, small_ones(10 * LATELY))
    queue.enter(fan_out_of(100))
    running = take_all(queue)
    assert queue.holds_back
    queue.hold_nobody_back()
    assert len(running + take_all(queue)) >= WORKERS


def test_as_time_passes_the_large_one_may_have_more_and_at_last_all(
    queue, small_ones, fan_out_of, clock
):
    finish(queue, small_ones(10 * LATELY))
    queue.enter(fan_out_of(100))
    running = take_all(queue)
    had = [len(running)]
    for _ in range(20):
        clock.now += LATELY / 2
        running += take_all(queue)
        had.append(len(running))
    assert had == sorted(had)
    assert had[0] == WORKERS - MANY * SMALL
    assert had[-1] == WORKERS


def test_nothing_is_counted_when_nobody_wants_anything(queue, demand, small_ones, fan_out_of):
    large = fan_out_of(100)
    queue.enter(large)
    running = take_all(queue) + small_ones(LATELY)
    queue.withdraw(large)
    finish(queue, running + take_all(queue))
    assert (demand._wanted, demand._owners, demand.large) == (0, 0, 0)  # noqa: SLF001 - would add up


# In the pool: run_in_parallel, whose caller runs one of the tasks itself


def request(gate: Gate, tasks: int) -> Callable[[], object]:
    """A request whose tasks stand at a gate; to be called to wait for its end."""

    def serve() -> None:
        token = current.set(OwnerExecutor())
        try:
            run_in_parallel([gate] * tasks)
        finally:
            current.get().end()
            current.reset(token)

    return in_thread(serve)


@pytest.fixture
def come():
    """Has small requests come; when it returns, all their tasks stand at the gate."""

    def come(gate: Gate) -> list[Callable[[], object]]:
        ends = [request(gate, SMALL + 1) for _ in range(MANY)]
        wait_until(lambda: gate.inside == MANY * (SMALL + 1))
        return ends

    return come


@pytest.fixture
def pool_of_clock(clock):
    """The process's pool, on the clock that goes when it is told to."""
    pool = CommonPool(PoolConfig(max_workers=WORKERS), clock=clock)
    with replacing(pool):
        yield pool
    pool.close(1)


def small_ones_have_been(come, clock):
    """Small fan-outs have had workers for as long as is remembered, and are done."""
    with Gate() as gate:
        ends = come(gate)
        clock.now += 10 * LATELY
        gate.open()
        for end in ends:
            end()


@pytest.mark.usefixtures("pool_of_clock")
def test_small_fan_outs_have_workers_while_all_tasks_of_a_large_one_run_on(come, clock):
    small_ones_have_been(come, clock)
    with Gate() as large, Gate() as again:
        ends = [request(large, 20)]
        wait_until(lambda: large.inside == 1 + WORKERS - MANY * SMALL)
        ends += come(again)
        assert large.inside == 1 + WORKERS - MANY * SMALL
        again.open()
        large.open()
        for end in ends:
            end()


def test_the_large_fan_out_has_all_workers_when_the_others_stay_away(pool_of_clock, come, clock):
    small_ones_have_been(come, clock)
    with Gate() as large:
        ends = [request(large, 20)]
        wait_until(lambda: large.inside == 1 + WORKERS - MANY * SMALL)
        for _ in range(10):  # no task ends, and nobody comes: the pool looks by itself
            clock.now += LATELY
            look(pool_of_clock.watcher)
        wait_until(lambda: large.inside == 1 + WORKERS)
        large.open()
        for end in ends:
            end()
