"""Closing ends the watcher's thread, at any moment; after it nothing is run any more."""

from __future__ import annotations

import threading

from tests.helpers import wait_until
from tests.unit.watcher_helpers import watchers


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
