"""Short tasks are left to their caller, and workers are called as soon as one takes long."""

from __future__ import annotations

import math
import threading
from unittest import mock

import pytest

from commonpool import current_executor, pace, run_in_parallel
from commonpool.pace import FORGETTING, LEAST_WEIGHT, LONG, OUTLIER, SURPRISE, WORTH, Pace
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


def test_what_its_caller_is_done_with_is_not_handed_over(busy_pool, monkeypatch):
    # the watcher has seen that one takes long, and comes when that one is over, and too long
    dispatch = busy_pool._dispatch  # noqa: SLF001 - the threads meet in its midst
    end_keeping, left = dispatch.end_keeping, []

    def late(kept):
        handed_over = end_keeping(kept)
        busy_pool._hand_over(kept)  # noqa: SLF001 - what the watcher calls
        fan_out = kept.fan_out
        left.append((len(fan_out.unstarted), fan_out.places, fan_out.at_workers))
        return handed_over

    def fan_out():
        return run_in_parallel([lambda index=index: index for index in range(5)])

    monkeypatch.setattr(dispatch, "end_keeping", late)
    for surprise in (SURPRISE, 0.0):
        with mock.patch.object(pace, "SURPRISE", surprise):
            assert fan_out() == [0, 1, 2, 3, 4]
    assert left == [(4, 0, 0)]


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
    pace.arrived(0.001, 0.0)
    pace.ran("short", 0.0009 * WORTH)
    pace.ran("long", 0.0011 * WORTH)
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
    pace.arrived(0.001, 0.0)
    for seconds in (0.003, 0.002, 0.005):
        pace.ran("a", seconds)
    pace.arrived(0.002 * FORGETTING / WORTH / LEAST_WEIGHT, math.inf)
    assert pace.keeps("a")


@pytest.mark.usefixtures("own_pace")
def test_what_has_lately_taken_long_is_not_kept_where_it_is_short_for_once():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 1.1 * OUTLIER)
    pace.ran("a", 0.001)
    assert not pace.keeps("a")
    for _ in range(20):
        pace.ran("a", 0.001)
    assert pace.keeps("a")


@pytest.mark.usefixtures("own_pace")
def test_what_is_long_is_not_kept_on_any_machine():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 0.9 * LONG)
    pace.ran("b", 1.1 * LONG)
    assert pace.keeps("a")
    assert not pace.keeps("b")


@pytest.mark.usefixtures("own_pace")
def test_a_time_that_is_far_above_the_least_takes_its_place():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 0.001)
    pace.ran("a", pace.surprise * 1.01)
    assert not pace.keeps("a")
