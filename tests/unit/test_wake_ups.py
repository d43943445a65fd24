"""No task waits while a worker could run it: wake-ups that were lost once, each forced again."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import wait

from commonpool import current_executor, run_in_parallel
from tests.helpers import Gate, wait_until


def test_a_place_that_becomes_free_wakes_a_worker_for_who_gets_it(make_pool, request_executor):
    make_pool(max_workers=2, max_workers_per_request=1, max_queue=1)
    one, other = request_executor(), request_executor()
    with Gate() as gate:
        one.submit(gate)
        wait_until(lambda: gate.inside == 1)
        holds_the_place = one.submit(int)
        with other.task_group() as group:  # its task finds no place, and is kept
            future = group.submit(int)
            assert holds_the_place.cancel()
            done, _ = wait([future], timeout=10)
            assert done


def test_who_relied_on_a_worker_that_could_not_be_started_is_served_all_the_same(
    make_pool, monkeypatch
):
    make_pool(max_workers=2)
    executor = current_executor()
    real, starting, go_on = threading.Thread.start, threading.Event(), threading.Event()

    def start(thread):
        if not thread.name.startswith("commonpool"):
            return real(thread)
        starting.set()
        go_on.wait(10)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    unlucky = threading.Thread(target=lambda: executor.submit(int))
    unlucky.start()
    assert starting.wait(10)
    relying = executor.submit(lambda: 1)
    go_on.set()
    done, _ = wait([relying], timeout=10)
    unlucky.join(10)
    assert done


def test_a_worker_that_was_killed_from_outside_is_replaced(make_pool):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        future = current_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        current_executor().background(int)
    future.result()
    wait_until(lambda: pool.stats().idle == 1)
    ident = next(t.ident for t in threading.enumerate() if t.name == "commonpool-1")
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))
    waiting = [current_executor().background(lambda n=n: n) for n in range(3)]
    done, not_done = wait(waiting, timeout=10)
    assert not not_done
    assert {f.result() for f in done if f.exception() is None} <= {0, 1, 2}
    assert run_in_parallel([lambda: 1, lambda: 2]) == [1, 2]


def test_a_worker_outlives_a_callable_that_nobody_can_name(make_pool):
    pool = make_pool(max_workers=1)

    class Nameless:
        def __getattribute__(self, name):
            if name == "__qualname__":
                raise RuntimeError("outside of a context")
            return super().__getattribute__(name)

        def __call__(self):
            raise KeyError("the real error")

    future = current_executor().background(Nameless())
    wait([future], timeout=10)
    assert isinstance(future.exception(), KeyError)
    assert wait([current_executor().background(int)], timeout=10).done
    assert pool.stats().workers == 1


def test_a_caller_with_a_time_limit_runs_a_task_whose_owner_may_have_no_worker(
    make_pool, request_executor
):
    make_pool(max_workers=4, max_workers_per_request=1)
    executor = request_executor()
    with Gate() as gate:
        executor.submit(gate)
        wait_until(lambda: gate.inside == 1)
        assert executor.submit(lambda: 1).result(timeout=30) == 1
