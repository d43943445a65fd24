"""The watcher keeps deadlines: what it guarantees, and what becomes of it when things go wrong."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from commonpool.watcher import Watch, Watcher
from tests.helpers import wait_until


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watcher(clock: Clock) -> Iterator[Watcher]:
    watcher = Watcher(clock)
    yield watcher
    watcher.close(10)


def look(watcher: Watcher) -> None:
    """Have the watcher look at its clock, and come back when it has done all that was due."""
    for _ in range(2):  # what is due together runs in any order: the second look comes after all
        seen = threading.Event()
        watcher.at(-1.0, seen.set)
        assert seen.wait(2)


def watchers() -> int:
    return sum(thread.name == "commonpool-watcher" for thread in threading.enumerate())


def test_it_has_no_thread_before_the_first_at(watcher):
    assert watchers() == 0
    watcher.at(1.0, int)
    assert watchers() == 1


def test_it_never_has_more_than_one_thread(watcher):
    start = threading.Barrier(8, timeout=10)
    ran_on: list[threading.Thread] = []

    def ask() -> None:
        start.wait()
        for _ in range(50):
            watcher.at(0.0, lambda: ran_on.append(threading.current_thread()))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    wait_until(lambda: len(ran_on) == 400)
    assert len(set(ran_on)) == 1


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


# Cancelling


def test_what_is_cancelled_does_not_run(watcher, clock):
    ran = threading.Event()
    watcher.at(10.0, ran.set).cancel()
    clock.now = 10.0
    look(watcher)
    assert not ran.is_set()


def test_cancelling_twice_and_too_late_is_no_error(watcher, clock):
    watch = watcher.at(10.0, int)
    clock.now = 10.0
    look(watcher)
    watch.cancel()
    watch.cancel()


def test_thousands_of_cancelled_watches_do_not_pile_up(watcher):
    for _ in range(10_000):
        watcher.at(60.0, int).cancel()
    gc.collect()
    assert sum(type(thing) is Watch for thing in gc.get_objects()) < 300


def test_cancelled_watches_do_not_pile_up_between_living_ones(watcher):
    living = [watcher.at(60.0, int) for _ in range(1000)]
    for _ in range(10_000):
        watcher.at(60.0, int).cancel()
    gc.collect()
    assert sum(type(thing) is Watch for thing in gc.get_objects()) < 2 * len(living) + 300


def test_the_living_run_though_thousands_around_them_were_cancelled(watcher, clock):
    ran = []
    for number in range(3000):
        watch = watcher.at(60.0 + number, lambda number=number: ran.append(number))
        if number % 100:
            watch.cancel()
    clock.now = 4000.0
    look(watcher)
    assert ran == list(range(0, 3000, 100))


class Held:
    """An action that can be told from all others."""

    def __call__(self) -> None:
        pass


@pytest.mark.parametrize("way", ["cancelled", "run"])
def test_an_action_is_let_go_of_when_it_was(watcher, clock, way):
    watch = watcher.at(60.0, Held())
    if way == "cancelled":
        watch.cancel()
    else:
        clock.now = 60.0
        look(watcher)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Held]


# Closing


def test_closing_ends_its_thread(watcher):
    watcher.at(60.0, int)
    watcher.close(10)
    assert watchers() == 0


def test_after_closing_nothing_is_run_any_more(watcher, clock):
    ran = threading.Event()
    watcher.at(10.0, ran.set)
    watcher.close(10)
    clock.now = 10.0
    watcher.at(0.0, ran.set)
    assert watchers() == 0
    assert not ran.is_set()


def test_what_is_due_while_it_is_closed_does_not_run(watcher):
    begun, released, ran = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        released.wait(10)

    watcher.at(0.0, hold)
    assert begun.wait(10)
    watcher.at(0.0, ran.set)
    watcher.close(0)
    released.set()
    wait_until(lambda: watchers() == 0)
    assert not ran.is_set()


def test_closed_before_it_had_a_thread_it_never_has_one(watcher, monkeypatch):
    watcher.close(10)
    started = []
    monkeypatch.setattr(threading.Thread, "start", lambda *those: started.extend(those))
    watcher.at(0.0, int)
    monkeypatch.undo()
    assert started == []


def test_closing_twice_or_without_a_thread_is_no_error(watcher):
    watcher.close(10)
    watcher.close(10)


def test_an_action_may_close_the_watcher(watcher):
    closed = threading.Event()

    def close() -> None:
        watcher.close(10)
        closed.set()

    watcher.at(0.0, close)
    assert closed.wait(10)
    wait_until(lambda: watchers() == 0)


def test_closing_does_not_wait_longer_than_it_is_told(watcher):
    begun, released = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        released.wait(10)

    watcher.at(0.0, hold)
    assert begun.wait(10)
    watcher.close(0)
    assert watchers() == 1
    released.set()


def test_it_may_be_closed_while_its_thread_is_being_started(watcher, monkeypatch):
    start = threading.Thread.start
    closed = []

    def close() -> None:
        watcher.close(10)
        closed.append(True)

    def slow_start(thread: threading.Thread) -> None:
        closer = threading.Thread(target=close)
        start(closer)
        closer.join()
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", slow_start)
        watcher.at(60.0, int)
    wait_until(lambda: watchers() == 0)
    assert closed == [True]


# Threads that cannot be had


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


@pytest.mark.usefixtures("no_threads")
def test_a_thread_that_cannot_be_started_is_no_error(watcher, caplog):
    watcher.at(0.0, int)
    assert "no thread for the watcher (can't start new thread)" in caplog.text


@pytest.mark.usefixtures("no_threads")
def test_a_thread_that_cannot_be_started_is_told_once(watcher, caplog):
    for _ in range(5):
        watcher.at(60.0, int)
    assert caplog.text.count("no thread for the watcher") == 1


def test_what_was_asked_for_without_a_thread_runs_when_there_is_one(watcher, no_threads):
    early = threading.Event()
    watcher.at(0.0, early.set)
    no_threads.undo()
    watcher.at(60.0, int)
    assert early.wait(10)


@pytest.mark.usefixtures("no_threads")
def test_a_watcher_without_a_thread_can_be_cancelled_and_closed(watcher):
    watcher.at(60.0, int).cancel()
    watcher.close(10)
