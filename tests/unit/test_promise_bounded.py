"""Promises 3 and 4: it is bounded, and it is fair."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from commonpool import PoolSaturated, current_executor, run_in_parallel
from tests.helpers import Gate, pool_threads, wait_until


def in_thread(fn):
    """Run a function in a thread of its own; join() returns what it returned, or raises."""
    outcome = []

    def run():
        try:
            outcome.append((fn(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join(30)
        assert outcome, "the thread did not end"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return join


def test_at_most_max_workers_workers_run_whatever_the_traffic(make_pool, request_executor):
    pool = make_pool(max_workers=3)
    gate = Gate()
    with gate:
        futures = [request_executor().submit(gate) for _ in range(12)]
        wait_until(lambda: gate.inside == 3)
        assert len(pool_threads()) == 3
        assert pool.stats().queued == 9
    wait(futures)
    assert gate.peak == 3


def test_at_most_max_queue_tasks_wait_whatever_the_traffic(make_pool, request_executor):
    pool = make_pool(max_workers=1, max_queue=5)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        for _ in range(20):
            request_executor().submit(lambda: None)
            assert pool.stats().queued <= 5
        assert pool.stats().queued == 5


def test_a_fan_out_queues_what_there_is_room_for_and_keeps_the_rest(make_pool):
    pool = make_pool(max_workers=1, max_queue=5)
    queued = []
    results = run_in_parallel([lambda: queued.append(pool.stats().queued)] * 100)
    assert len(results) == len(queued) == 100
    assert max(queued) <= 5


def test_what_a_fan_out_keeps_reaches_the_workers_as_places_get_free(make_pool):
    make_pool(max_workers=4, max_queue=1)
    barrier = threading.Barrier(5)
    for _ in range(10):
        assert len(run_in_parallel([lambda: barrier.wait(30)] * 5)) == 5


def test_when_the_queue_is_full_a_newcomer_takes_places_of_the_owner_that_has_most(
    make_pool, request_executor
):
    pool = make_pool(max_workers=1, max_queue=4)
    greedy, newcomer = request_executor(), request_executor()
    with Gate() as gate:
        waiting = [greedy.submit(gate, n) for n in range(5)]
        wait_until(lambda: gate.inside == 1)
        late = newcomer.submit(threading.get_ident)
        assert not late.done()
        assert pool.stats().owners_waiting == 2
        assert pool.stats().queued == 4
    assert [future.result() for future in waiting] == [0, 1, 2, 3, 4]
    assert late.result()


def test_what_a_newcomer_displaced_still_completes_though_nobody_helps(make_pool, request_executor):
    make_pool(max_workers=1, max_queue=2)
    greedy, newcomer = request_executor(), request_executor()
    with Gate() as gate:
        waiting = [greedy.submit(gate, n) for n in range(3)]
        wait_until(lambda: gate.inside == 1)
        waiting.append(newcomer.submit(gate, 3))
    done, not_done = wait(waiting, timeout=30)
    assert not not_done
    assert sorted(future.result() for future in done) == [0, 1, 2, 3]


def test_a_submit_with_no_room_runs_in_the_caller(make_pool, request_executor):
    make_pool(max_workers=1, max_queue=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        request_executor().submit(gate)
        future = request_executor().submit(threading.get_ident)
        assert future.done()
        assert future.result() == threading.get_ident()


def test_a_submit_with_no_room_is_rejected_where_the_pool_is_told_to(make_pool, request_executor):
    pool = make_pool(max_workers=1, max_queue=1, overflow="reject")
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        request_executor().submit(gate)
        with pytest.raises(PoolSaturated, match=r"1 of 1 workers started .* 1 of 1 waiting places"):
            request_executor().submit(lambda: None)
        assert pool.stats().rejected == 1


def test_an_owner_that_fills_the_queue_itself_is_rejected_too(make_pool, request_executor):
    make_pool(max_workers=1, max_queue=1, overflow="reject")
    executor = request_executor()
    with Gate() as gate:
        executor.submit(gate)
        wait_until(lambda: gate.inside == 1)
        executor.submit(gate)
        with pytest.raises(PoolSaturated):
            executor.submit(gate)


def test_a_fan_out_is_rejected_only_when_every_waiting_place_is_held_by_another_owner(
    make_pool, request_executor
):
    make_pool(max_workers=1, max_queue=2, overflow="reject")
    one, other = request_executor(), request_executor()
    with Gate() as gate:
        one.submit(gate)
        wait_until(lambda: gate.inside == 1)
        one.submit(gate)
        assert run_in_parallel([lambda: 1] * 10) == [1] * 10  # one place is free
        other.submit(gate)
        with pytest.raises(PoolSaturated, match="No room for 10"):
            run_in_parallel([lambda: 1] * 10)


def test_an_owner_is_held_to_its_cap(make_pool, request_executor):
    make_pool(max_workers=4, max_workers_per_request=2)
    gate, other_gate = Gate(), Gate()
    greedy, other = request_executor(), request_executor()
    with gate, other_gate:
        futures = [greedy.submit(gate) for _ in range(6)]
        wait_until(lambda: gate.inside == 2)
        futures += [other.submit(other_gate) for _ in range(2)]
        wait_until(lambda: other_gate.inside == 2)
    wait(futures)
    assert gate.peak == 2


def test_a_large_fan_out_does_not_hold_up_a_small_one(make_pool, request_executor):
    """Requests take turns, not tasks."""
    make_pool(max_workers=1, max_queue=2_000)
    large, small = request_executor(), request_executor()
    order = []
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        futures = [large.submit(order.append, "large") for _ in range(1_000)]
        futures += [small.submit(order.append, "small") for _ in range(3)]
    wait(futures)
    assert order[:6].count("small") == 3


def test_a_thread_is_started_only_when_there_is_a_task_and_no_idle_worker(make_pool):
    pool = make_pool(max_workers=8)
    assert len(pool_threads()) == 0
    for _ in range(20):
        assert current_executor().submit(lambda: 1).result(timeout=30) == 1
        wait_until(lambda: pool.stats().idle == 1)
    assert len(pool_threads()) == 1


def test_one_task_alone_starts_no_thread(make_pool):
    make_pool(max_workers=8)
    assert run_in_parallel([lambda: 1]) == [1]
    assert len(pool_threads()) == 0


def test_many_requests_at_once_stay_within_all_bounds(make_pool):
    pool = make_pool(max_workers=3, max_queue=7)
    worst = []

    def task():
        stats = pool.stats()
        worst.append((stats.workers, stats.queued))

    joins = [in_thread(lambda: run_in_parallel([task] * 30)) for _ in range(16)]
    for join in joins:
        assert len(join()) == 30
    assert max(workers for workers, _ in worst) <= 3
    assert max(queued for _, queued in worst) <= 7
    assert len(worst) == 480
