"""Short tasks are left to their caller, and workers are called as soon as one takes long."""

from __future__ import annotations

import math
import threading

import pytest

from commonpool import current_executor, run_in_parallel
from commonpool.pace import FORGETTING, LEAST_WEIGHT, WORTH, Pace
from commonpool.task import FanOut
from tests.helpers import busy

LIMIT = 30  # seconds after which a test hangs


@pytest.fixture
def busy_pool(make_pool):
    """A pool whose workers take long to come, so that the tasks of these tests are short."""
    pool = make_pool(max_workers=4)
    with busy(pool):
        yield pool


def test_tasks_that_are_known_to_be_short_are_run_by_their_caller(busy_pool):

    def where():
        return threading.get_ident()

    for turn in range(2):
        before = busy_pool.stats().run_by_callers
        found = run_in_parallel([where] * 5)
        if turn:
            assert set(found) == {threading.get_ident()}
            assert busy_pool.stats().run_by_callers == before + 5


@pytest.mark.usefixtures("busy_pool")
def test_tasks_of_which_nothing_is_known_are_side_by_side():
    barrier = threading.Barrier(5)
    assert len(run_in_parallel([lambda: barrier.wait(LIMIT)] * 5)) == 5


@pytest.mark.usefixtures("busy_pool")
def test_workers_are_called_for_the_rest_while_their_caller_is_in_a_task_that_takes_long():
    gate = threading.Event()
    waits = False

    def task(index=None):
        if waits and index == 0:
            assert gate.wait(LIMIT)
        elif index == 4:
            gate.set()
        return threading.get_ident()

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(5)])

    fan_out()
    assert set(fan_out()) == {threading.get_ident()}
    gate.clear()
    waits = True
    first, *others = fan_out()
    assert first == threading.get_ident()
    assert threading.get_ident() not in others


def test_a_failure_cancels_what_its_caller_keeps(busy_pool):
    done = []
    fails = False

    def task(index):
        done.append(index)
        if fails and index == 1:
            raise LookupError

    def fan_out():
        run_in_parallel([lambda index=index: task(index) for index in range(5)])

    fan_out()
    done.clear()
    fails = True
    cancelled = busy_pool.stats().cancelled
    with pytest.raises(LookupError, match=None):
        fan_out()
    assert done == [0, 1]
    assert busy_pool.stats().cancelled == cancelled + 3


@pytest.mark.usefixtures("busy_pool")
def test_what_has_a_time_limit_of_its_own_is_not_kept():

    def where():
        return threading.get_ident()

    for timeout in (None, LIMIT):
        found = run_in_parallel([where] * 2, timeout=timeout)
    assert threading.get_ident() not in found


@pytest.mark.usefixtures("own_pace")
def test_what_is_known_to_be_short_is_kept():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("short", 0.9 * WORTH)
    pace.ran("long", 1.1 * WORTH)
    assert pace.keeps("short")
    assert not pace.keeps("long")
    assert not pace.keeps("new")


def test_the_second_longest_of_its_tasks_is_a_fan_outs_time():
    fan_out = FanOut(current_executor().owner)
    for seconds in (3.0, 1.0, 9.0, 4.0, 2.0):
        fan_out.ran(seconds)
    assert fan_out.second_longest == 4.0


@pytest.mark.usefixtures("own_pace")
def test_the_least_time_counts_and_is_forgotten_slowly():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    for seconds in (3.0, 2.0, 5.0):
        pace.ran("a", seconds)
    pace.arrived(2.0 * FORGETTING / WORTH / LEAST_WEIGHT, math.inf)
    assert pace.keeps("a")


@pytest.mark.usefixtures("own_pace")
def test_a_time_that_is_far_above_the_least_takes_its_place():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 0.001)
    pace.ran("a", pace.surprise * 1.01)
    assert not pace.keeps("a")
