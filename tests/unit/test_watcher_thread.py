"""The watcher has one thread, from the first `at` on, and does without where none can be had."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.helpers import wait_until
from tests.unit.watcher_helpers import watchers


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
