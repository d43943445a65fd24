"""Promise 1: it never waits where sequential code would work."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from commonpool import OwnerExecutor, current_executor, run_in_parallel, testing
from tests.helpers import Gate, wait_until


def in_a_task_group():
    with current_executor().task_group() as group:
        futures = [group.submit(lambda n=n: n * n) for n in range(20)]
    return [future.result() for future in futures]


def submit_square(n):
    return current_executor().submit(lambda: n * n)


WAYS = {
    "run_in_parallel": lambda: run_in_parallel([lambda n=n: n * n for n in range(20)]),
    "task_group": in_a_task_group,
    "map": lambda: list(current_executor().map(lambda n: n * n, range(20))),
    "result": lambda: [f.result() for f in [submit_square(n) for n in range(20)]],
}


@pytest.fixture(params=WAYS)
def squares(request):
    return WAYS[request.param]


EXPECTED = [n * n for n in range(20)]


def test_with_one_worker_the_same_code_gives_the_same_answers(make_pool, squares):
    make_pool(max_workers=1)
    assert squares() == EXPECTED


def test_with_no_worker_free_the_same_code_gives_the_same_answers(
    make_pool, request_executor, squares
):
    pool = make_pool(max_workers=2)
    other = request_executor()
    with Gate() as gate:
        held = [other.submit(gate) for _ in range(2)]
        wait_until(lambda: gate.inside == 2)
        assert squares() == EXPECTED
        assert pool.stats().run_by_callers == 20
    wait(held)


def test_with_every_worker_lost_the_same_code_gives_the_same_answers(
    make_pool, request_executor, squares
):
    pool = make_pool(max_workers=2)
    with Gate() as gate:
        lost = request_executor()
        for _ in range(2):
            lost.submit(gate)
        wait_until(lambda: gate.inside == 2)
        lost.end()
        assert pool.stats().abandoned == 2
        assert squares() == EXPECTED


def test_with_no_thread_to_be_had_the_same_code_gives_the_same_answers(
    make_pool, squares, monkeypatch
):
    pool = make_pool(max_workers=4)

    def no_more(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert squares() == EXPECTED
    assert pool.stats().run_by_callers == 20


def test_after_shutdown_the_same_code_gives_the_same_answers(make_pool, squares):
    pool = make_pool(max_workers=4)
    pool.close(0)
    assert squares() == EXPECTED
    assert pool.stats().workers == 0


def test_inline_the_same_code_gives_the_same_answers(squares):
    with testing.inline() as pool:
        assert squares() == EXPECTED
    assert pool.stats().run_by_callers == 20


def test_inside_a_task_the_same_code_gives_the_same_answers(make_pool, squares):
    make_pool(max_workers=1)
    assert current_executor().submit(squares).result() == EXPECTED


def test_after_its_request_has_ended_an_executor_runs_what_it_is_given_at_once(make_pool):
    make_pool(max_workers=1)
    executor = OwnerExecutor()
    executor.end()
    assert executor.submit(threading.get_ident).result() == threading.get_ident()


def test_who_waits_with_a_time_limit_runs_the_task_when_no_worker_is_free(
    make_pool, request_executor
):
    make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        future = request_executor().submit(threading.get_ident)
        assert future.result(timeout=30) == threading.get_ident()


def test_who_waits_with_a_time_limit_leaves_the_task_to_a_free_worker(make_pool):
    make_pool(max_workers=2)
    executor = current_executor()
    assert executor.submit(threading.get_ident).result(timeout=30) != threading.get_ident()
    idents = run_in_parallel([threading.get_ident] * 2, timeout=30)
    assert threading.get_ident() not in idents


def test_a_caller_takes_part_in_its_own_fan_out(make_pool):
    make_pool(max_workers=4)
    barrier = threading.Barrier(5)  # four workers and the caller: all at the same time
    assert len(run_in_parallel([lambda: barrier.wait(30)] * 5)) == 5


def test_polling_with_a_timeout_of_zero_runs_nothing(make_pool, request_executor):
    make_pool(max_workers=1)
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        future = request_executor().submit(lambda: 1)
        with pytest.raises(TimeoutError):
            future.result(timeout=0)
        assert not future.done()
