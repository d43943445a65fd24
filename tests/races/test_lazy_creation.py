"""Many threads ask for the process's pool at once, at every position of the first of them."""

# ruff: noqa: SLF001 - the order of steps inside the pool is what is forced

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from commonpool import CommonPool, current_executor, process
from tests.races.lying_lock import (
    POSITIONS,
    LyingLock,
    Task,
    assert_settled,
    at_every_position,
    race,
)

OTHERS = 6


@pytest.fixture(autouse=True)
def _no_lock_before_and_none_after() -> Iterator[None]:
    process.reset()
    process._process.locks.pop(os.getpid(), None)
    yield
    process.reset()
    process._process.locks.pop(os.getpid(), None)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[CommonPool]:
    """The pools that are made."""
    pools = []

    class Counted(CommonPool):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pools.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(process, "CommonPool", Counted)
    return pools


def test_the_first_thread_is_stopped_at_the_lock(monkeypatch, made):
    started = []
    monkeypatch.setattr(process._process, "at_start", [lambda: started.append(1)])

    def run(position: int) -> LyingLock:
        process.reset()
        process._process.locks.pop(os.getpid(), None)
        made.clear()
        started.clear()
        lock = LyingLock(position)
        # each thread that comes makes a lock, and all take the first
        monkeypatch.setattr(process, "threading", SimpleNamespace(Lock=lambda: lock))
        pools = race(lock, process.current_pool, *[process.current_pool] * OTHERS)
        assert len(made) == len(started) == 1
        assert pools == made * (OTHERS + 1)
        return lock

    assert at_every_position(run) == POSITIONS


def test_the_first_thread_is_stopped_before_others_can_see_its_lock(monkeypatch, made):
    gate = LyingLock(0)

    def make_lock() -> Any:
        with gate:  # where the first thread is stopped
            return threading.Lock()

    monkeypatch.setattr(process, "threading", SimpleNamespace(Lock=make_lock))
    pools = race(gate, process.current_pool, *[process.current_pool] * OTHERS)
    assert gate.stopped.is_set()
    assert len(made) == 1
    assert pools == made * (OTHERS + 1)


def test_the_first_tasks_of_a_process_come_at_once(monkeypatch, made):
    def run(position: int) -> LyingLock:
        process.reset()
        process._process.locks.pop(os.getpid(), None)
        made.clear()
        lock = LyingLock(position)
        monkeypatch.setattr(process, "threading", SimpleNamespace(Lock=lambda: lock))

        def first_task() -> int:
            return current_executor().submit(Task()).result()

        assert race(lock, *[first_task] * OTHERS) == [1] * OTHERS
        assert len(made) == 1
        assert_settled(made[0])
        return lock

    assert at_every_position(run) == POSITIONS
