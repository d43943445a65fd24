"""An action runs at its moment or later, never before, and once, whatever the others do."""

from __future__ import annotations

import threading

import pytest

from commonpool.watcher import Watcher
from tests.unit.watcher_helpers import look


def test_an_action_runs_at_its_moment(watcher, clock):
    ran = threading.Event()
    watcher.at(10.0, ran.set)
    clock.now = 10.0
    look(watcher)
    assert ran.is_set()


def test_an_action_runs_later_than_its_moment_if_it_must(watcher, clock):
    ran = threading.Event()
    clock.now = 11.0
    watcher.at(10.0, ran.set)
    assert ran.wait(10)


def test_an_action_never_runs_before_its_moment(watcher, clock):
    ran = threading.Event()
    watcher.at(10.0, ran.set)
    clock.now = 9.99
    look(watcher)
    assert not ran.is_set()


def test_an_action_runs_once(watcher, clock):
    ran = []
    watcher.at(10.0, lambda: ran.append(clock.now))
    for clock.now in (10.0, 11.0, 12.0):
        look(watcher)
    assert ran == [10.0]


def test_an_action_at_infinity_never_runs(watcher, clock):
    ran = threading.Event()
    watcher.at(float("inf"), ran.set)
    clock.now = 1e300
    look(watcher)
    assert not ran.is_set()


def test_the_earliest_moment_comes_first(watcher, clock):
    ran = []
    for moment in (3.0, 1.0, 2.0):
        watcher.at(moment, lambda moment=moment: ran.append(moment))
    clock.now = 5.0
    look(watcher)
    assert ran == [1.0, 2.0, 3.0]


def test_an_earlier_moment_wakes_a_watcher_that_sleeps_until_a_later_one():
    watcher = Watcher()  # on the real clock: nothing but being woken can make it run in time
    try:
        watcher.at(1e9, int)
        look(watcher)
    finally:
        watcher.close(10)


def test_an_action_may_ask_for_the_next_one(watcher, clock):
    ran = threading.Event()
    watcher.at(1.0, lambda: watcher.at(2.0, ran.set))
    clock.now = 2.0
    look(watcher)
    assert ran.wait(10)


# Errors


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt])
def test_an_action_that_raises_is_logged(watcher, caplog, error):
    def wrong() -> None:
        raise error("wrong")

    watcher.at(0.0, wrong)
    look(watcher)
    assert "the watcher could not do what was due" in caplog.text
    assert error.__name__ in caplog.text


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt])
def test_when_an_action_raises_the_others_run_all_the_same(watcher, clock, error):
    def wrong() -> None:
        raise error("wrong")

    ran = []
    watcher.at(1.0, lambda: ran.append("before"))
    watcher.at(2.0, wrong)
    watcher.at(3.0, lambda: ran.append("after"))
    clock.now = 3.0
    look(watcher)
    assert ran == ["before", "after"]
