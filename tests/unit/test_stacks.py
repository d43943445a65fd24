"""Where threads are now is told without keeping alive what they hold."""

from __future__ import annotations

import os
import threading
import traceback

import pytest

from commonpool import DeadlineExceeded, run_in_parallel
from commonpool.stacks import stacks
from tests.helpers import Gate, wait_until


def stand(gate):
    gate()


@pytest.fixture
def standing():
    """A thread that stands at a gate."""
    with Gate() as gate:
        thread = threading.Thread(target=stand, args=(gate,))
        thread.start()
        wait_until(lambda: gate.inside)
        yield thread
    thread.join()


def test_the_calls_of_every_thread_are_told_the_oldest_first(standing):
    found = stacks([standing.ident, threading.get_ident()])
    for ident, name in ((standing.ident, "stand"), (threading.get_ident(), "stacks")):
        names = [call.name for call in found[ident]]
        assert name in names
    names = [call.name for call in found[standing.ident]]
    assert names.index("run") < names.index("stand") < names.index("wait")
    (call,) = [call for call in found[standing.ident] if call.name == "stand"]
    assert call.filename == stand.__code__.co_filename
    assert call.line == "gate()"


def test_a_thread_that_has_ended_is_not_told(standing):
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    asked = {standing.ident, thread.ident}
    assert stacks(asked).keys() == asked - {thread.ident}


def test_without_a_file_to_write_to_nothing_is_told(monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert stacks([threading.get_ident()]) == {}


class Held:
    """Something that a task holds, and that notes on which thread it was freed."""

    freed_on = None

    def __del__(self):
        Held.freed_on = threading.get_ident()


def test_what_an_abandoned_task_holds_is_freed_by_its_own_thread(make_pool, monkeypatch, caplog):
    make_pool(max_workers=1)
    worker = []

    with Gate() as gate:

        def task():
            held = Held()
            worker.append(threading.get_ident())
            gate(held.freed_on)

        def let_it_end(calls):
            gate.open()
            wait_until(lambda: Held.freed_on)
            return [f"in {call.name}" for call in calls]

        monkeypatch.setattr(traceback, "format_list", let_it_end)
        with pytest.raises(DeadlineExceeded):
            run_in_parallel([task], timeout=0.2)
        wait_until(lambda: "in task" in caplog.text)
    assert worker == [Held.freed_on]
