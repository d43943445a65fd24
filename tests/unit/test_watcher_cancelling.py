"""What was cancelled does not run, and nothing is held on to that was cancelled or was run."""

from __future__ import annotations

import gc
import threading

import pytest

from commonpool.watcher import Watch
from tests.unit.watcher_helpers import look


def test_what_is_cancelled_does_not_run(watcher, clock):
    ran = threading.Event()
    watcher.at(10.0, ran.set).cancel()
    clock.now = 10.0
    look(watcher)
    assert not ran.is_set()


def test_cancelling_too_late_or_twice_counts_for_nothing(watcher, clock):
    """Else the heap would be taken for one of cancelled watches, and what is in it lost."""
    done = [watcher.at(10.0, int) for _ in range(150)]
    clock.now = 10.0
    look(watcher)
    for watch in done:
        watch.cancel()
    seen = threading.Event()
    waiting = watcher.at(20.0, seen.set)
    for _ in range(150):
        once = watcher.at(30.0, int)
        once.cancel()
        once.cancel()
    clock.now = 20.0
    look(watcher)
    assert seen.is_set()
    assert waiting.action is None


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


def test_a_garbage_collection_inside_it_may_ask_for_a_watch_and_cancel_one(watcher):
    """One that ends a connection's transaction does; it may come at any moment."""
    with watcher._lock:  # noqa: SLF001 - where a collection would be in the midst of something
        watcher.at(10.0, int).cancel()
