"""Done callbacks: whatever they do, others are served and told."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import wait

import pytest

from commonpool import DeadlineExceeded, current_executor
from tests.helpers import Gate, wait_until


def test_one_that_blocks_does_not_hold_up_the_deadlines_of_others(make_pool, request_executor):
    make_pool(max_workers=4)
    blocked = threading.Event()
    with Gate() as gate, Gate() as callback:
        first = request_executor(time.monotonic() + 0.3)
        future = first.submit(gate)
        future.add_done_callback(lambda _: blocked.set() or callback())
        second = request_executor(time.monotonic() + 0.6)
        other = second.submit(gate)
        assert blocked.wait(10)
        with pytest.raises(DeadlineExceeded):
            other.result()


def test_one_that_blocks_does_not_keep_a_caller_past_its_time(make_pool):
    make_pool(max_workers=2)
    with Gate() as callback:
        gate = Gate()

        def block():
            with current_executor().task_group(timeout=0.3) as group:
                future = group.submit(gate)
                future.add_done_callback(callback)
                gate.open()
                wait([future], timeout=10)

        used = time.thread_time()
        with pytest.raises(DeadlineExceeded):
            block()
        assert time.thread_time() - used < 0.25  # it slept, and did not spin


def test_one_may_wait_for_all_tasks_of_its_owner(make_pool):
    make_pool(max_workers=2)
    came_back = threading.Event()
    with Gate() as gate:
        future = current_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)

        def callback(_):
            current_executor().shutdown()
            came_back.set()

        future.add_done_callback(callback)
    assert came_back.wait(10)


def test_one_that_raises_what_is_no_exception_spares_the_siblings(make_pool, request_executor):
    make_pool(max_workers=1)
    futures = []

    def callback(_):
        raise SystemExit

    def block():
        with current_executor().task_group() as group:
            futures.append(group.submit(lambda: 1 / 0))
            futures.append(group.submit(int))
            futures[0].add_done_callback(callback)

    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        with contextlib.suppress(SystemExit, ZeroDivisionError):
            block()
        assert futures[1].cancelled()
