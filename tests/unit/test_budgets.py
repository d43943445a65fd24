"""Budgets: a worker has its share before it claims a task, and a caller needs none."""

from __future__ import annotations

import threading

import pytest

from commonpool import adapters, current_executor, run_in_parallel
from commonpool.budget import Budget, Share
from commonpool.task import SETTLED, FanOut, Owner, Task
from tests.helpers import Gate, wait_until


class Places(Budget):
    """So many shares; counts what was taken."""

    def __init__(self, places):
        self.places = places
        self.lock = threading.Lock()
        self.taken = 0
        self.peak = 0
        self.asked = 0

    def take(self, *, at_any_rate=False):
        with self.lock:
            self.asked += 1
            if self.taken >= self.places and not at_any_rate:
                return None
            self.taken += 1
            self.peak = max(self.peak, self.taken)
        return Place(self)

    def has_room(self):
        return self.taken < self.places


class Place(Share):
    def __init__(self, places):
        self.places = places
        self.given_back = False

    def give_back(self):
        if not self.given_back:
            self.given_back = True
            with self.places.lock:
                self.places.taken -= 1


@pytest.fixture
def budgeted():
    """Has functions need a share of a budget."""
    known = []

    def register(fn, budget):
        known.append(fn.__code__)
        adapters.budgets[fn.__code__] = budget
        return fn

    yield register
    for code in known:
        adapters.budgets.pop(code, None)


def test_workers_run_no_more_than_there_are_shares(make_pool, budgeted):
    make_pool(max_workers=8)
    places = Places(3)
    gate = Gate()
    caller = threading.get_ident()
    callers = []

    def task():
        if threading.get_ident() == caller:
            callers.append(1)
            wait_until(lambda: gate.inside == 3 or gate.passed)
            gate.open()
        else:
            gate()

    budgeted(task, places)
    run_in_parallel([task] * 12)
    assert gate.peak == places.peak == 3
    assert callers
    assert places.taken == 0


def test_a_caller_needs_no_share(make_pool, budgeted):
    make_pool(max_workers=8)
    places = Places(0)

    def task():
        return threading.get_ident()

    budgeted(task, places)
    assert set(run_in_parallel([task] * 12)) == {threading.get_ident()}


def test_what_has_a_future_is_counted_but_not_put_off(make_pool, budgeted):
    make_pool(max_workers=8)
    places = Places(0)

    def task():
        return threading.current_thread().name

    budgeted(task, places)
    future = current_executor().submit(task)
    wait_until(future.done)
    assert future.result().startswith("commonpool")
    assert places.peak == 1
    wait_until(lambda: places.taken == 0)


def test_what_needs_no_share_is_not_held_up(make_pool, budgeted):
    make_pool(max_workers=4)
    places = Places(0)
    both = threading.Event()
    gate = Gate()

    def task():  # on the caller's thread, while the others are at workers
        wait_until(lambda: gate.inside == 2 or both.is_set())
        both.set()
        gate.open()

    budgeted(task, places)
    run_in_parallel([task, task, gate, gate])
    assert both.is_set()


def test_who_waits_for_its_share_holds_no_task(make_pool, budgeted):
    make_pool(max_workers=2)
    stuck = threading.Event()
    entered = threading.Event()

    class Slow(Places):
        def take(self, *, at_any_rate=False):
            entered.set()
            assert stuck.wait(30)
            return super().take(at_any_rate=at_any_rate)

    def task():
        return threading.get_ident()

    budgeted(task, Slow(5))
    try:
        assert set(run_in_parallel([task] * 6)) == {threading.get_ident()}
    finally:
        stuck.set()


def test_a_share_that_is_free_again_calls_a_worker(make_pool, budgeted):
    pool = make_pool(max_workers=4)
    places = Places(0)
    waiting = threading.Event()
    at_worker = threading.Event()

    def task():
        if threading.current_thread().name.startswith("commonpool"):
            at_worker.set()
        elif not at_worker.is_set():
            waiting.set()
            wait_until(lambda: places.asked)
            places.places = 1
            pool.freed(places)
            assert at_worker.wait(30)

    budgeted(task, places)
    run_in_parallel([task] * 4)
    assert waiting.is_set()
    assert places.taken == 0


def test_an_error_in_securing_leaves_the_task_to_its_caller(make_pool, budgeted, caplog):
    make_pool(max_workers=2)

    class Broken(Places):
        def take(self, **_):
            raise OSError("no such budget")

    def task():
        return 1

    budgeted(task, Broken(1))
    assert run_in_parallel([task] * 4) == [1] * 4
    assert all("nothing could be secured" in record.message for record in caplog.records)


def test_shares_come_back_when_tasks_fail(make_pool, budgeted):
    make_pool(max_workers=4)
    places = Places(2)

    def task():
        raise LookupError

    budgeted(task, places)
    for _ in range(20):
        with pytest.raises(LookupError):
            run_in_parallel([task] * 6)
    wait_until(lambda: places.taken == 0)


def test_two_fan_outs_take_turns_at_shares(make_pool, budgeted):
    make_pool(max_workers=4)
    places = Places(1)
    seen = []

    def task():
        seen.append(threading.current_thread().name)

    budgeted(task, places)
    run_in_parallel([lambda: run_in_parallel([task] * 20) for _ in range(3)])
    assert len(seen) == 60
    wait_until(lambda: places.taken == 0)


def test_while_others_wait_for_a_share_and_there_is_none_no_worker_looks_for_one(
    make_pool, budgeted
):
    pool = make_pool(max_workers=2)
    places = Places(0)
    gate = Gate()

    def task():
        return threading.current_thread().name

    budgeted(task, places)
    others = threading.Thread(target=lambda: run_in_parallel([gate, task]))
    others.start()
    try:
        wait_until(lambda: pool._dispatch.has_put_off(places))  # noqa: SLF001
        asked = places.asked
        fan_out = FanOut(Owner(pool), has_caller=True)
        first, second = Task(task, fan_out), Task(task, fan_out)
        first.budget = second.budget = places
        pool.add(fan_out, [first])
        assert list(fan_out.held) == [first]
        assert places.asked == asked
        places.places = 1
        pool.add(fan_out, [second])  # now there is one, for those that have waited, too
        wait_until(lambda: first.state is SETTLED and second.state is SETTLED)
        assert {first.value[:10], second.value[:10]} == {"commonpool"}
    finally:
        gate.open()
        others.join()
