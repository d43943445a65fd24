"""Ends that meet: closing, cancelling, failing and forking beside what is still under way."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from commonpool import (
    CommonPool,
    DeadlineExceeded,
    PoolConfig,
    TaskCancelled,
    current_executor,
    run_in_parallel,
    testing,
)
from commonpool.dispatch import Dispatch
from commonpool.owner import _outside
from commonpool.task import FanOut, Owner, Task
from tests.helpers import Gate, run_python, wait_until


def test_shutting_down_in_another_thread_takes_no_task_from_a_fan_out(make_pool):
    make_pool(max_workers=1)

    def shut_down():
        thread = threading.Thread(
            target=current_executor().shutdown,
            kwargs={"wait": False, "cancel_futures": True},
        )
        thread.start()
        thread.join(10)
        return 0

    assert run_in_parallel([shut_down, *[lambda n=n: n for n in range(1, 6)]]) == [0, 1, 2, 3, 4, 5]


def test_futures_of_a_group_are_settled_when_the_pool_closes(make_pool):
    pool = make_pool(max_workers=1)
    gate = Gate()
    with current_executor().task_group() as group:
        futures = [group.submit(gate, n) for n in range(3)]
        wait_until(lambda: gate.inside == 1)
        closing = threading.Thread(target=pool.close, args=(10,))
        closing.start()
        wait_until(lambda: pool.stats().closed)
        gate.open()
        assert not wait(futures, timeout=10).not_done
    closing.join(10)
    assert [future.result() for future in futures] == [0, 1, 2]


def test_closing_inside_a_task_waits_for_the_others_and_not_for_itself():
    pool = CommonPool(PoolConfig(max_workers=2))
    gate = Gate()
    other = pool.submit(gate)
    wait_until(lambda: gate.inside == 1)
    closed = threading.Event()

    def close():
        pool.close(30)
        closed.set()

    pool.submit(close)
    wait_until(lambda: pool.stats().closed)
    gate.open()
    assert closed.wait(10)
    assert other.exception() is None
    wait_until(lambda: pool.stats().workers == 0)


def test_a_pool_that_was_shut_down_without_waiting_is_still_drained_when_closed():
    pool = CommonPool(PoolConfig(max_workers=1))
    gate = Gate()
    future = pool.submit(gate, "done")
    wait_until(lambda: gate.inside == 1)
    pool.shutdown(wait=False)
    closing = threading.Thread(target=pool.close, args=(10,))
    closing.start()
    gate.open()
    closing.join(10)
    assert future.result() == "done"
    assert pool.stats().workers == 0


def test_a_group_raises_the_failure_and_not_its_consequence(make_pool, request_executor):
    make_pool(max_workers=1)

    def block():
        with current_executor().task_group() as group:
            group.submit(lambda: 1 / 0)
            cancelled = group.submit(int)
            wait([cancelled], timeout=10)
            cancelled.result()

    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        threading.Timer(0, gate.open).start()
        with pytest.raises((ZeroDivisionError, TaskCancelled)) as caught:
            block()
    assert caught.type is ZeroDivisionError


def test_a_group_waits_for_a_task_that_another_thread_runs(make_pool, request_executor):
    make_pool(max_workers=1)
    ended = []
    with Gate() as busy, Gate() as gate:
        request_executor().submit(busy)
        wait_until(lambda: busy.inside == 1)
        with current_executor().task_group() as group:
            future = group.submit(lambda: (gate(), ended.append(1)))
            helper = threading.Thread(target=future.result)
            helper.start()
            wait_until(lambda: gate.inside == 1)
            threading.Timer(0.05, gate.open).start()
        assert ended == [1]
        helper.join(10)


def test_an_error_that_is_raised_again_and_again_does_not_collect_notes(make_pool):
    make_pool(max_workers=1)
    error = ValueError("kept")

    def fail():
        raise error

    for n in range(100):
        with pytest.raises(ValueError, match="kept"):
            run_in_parallel([*[int] * n, fail])
    assert len(error.__notes__) <= 10


def test_pools_that_were_reset_are_let_go():
    for _ in range(5):
        current_executor().submit(int).result()
        testing.reset()
    current_executor().submit(int).result()
    assert len(_outside._owners) <= 2  # noqa: SLF001


def test_a_child_leaves_the_group_that_its_parent_was_in():
    done = run_python(
        """
        import os, signal, threading
        from commonpool import PoolClosed, current_executor
        gate = threading.Event()
        with current_executor().task_group() as group:
            group.submit(gate.wait)
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                try:
                    group.__exit__(None, None, None)
                except PoolClosed:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
            gate.set()
        """
    )
    assert done.returncode == 0, done.stderr


def test_a_task_that_forks_does_not_have_its_child_run_the_rest_of_the_queue():
    done = run_python(
        """
        import os
        from concurrent.futures import wait
        from commonpool import current_executor, PoolConfig, process
        process.configure(PoolConfig(max_workers=1))
        parent = os.getpid()
        def fork():
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
        def tell():
            os.write(1, b"parent " if os.getpid() == parent else b"child ")
        submit = current_executor().submit
        wait([submit(fork), submit(tell), submit(tell), submit(tell)])
        """
    )
    assert done.stdout == "parent parent parent ", done.stderr


def test_a_recursion_without_end_that_cancels_leaves_the_queue_whole(make_pool, request_executor):
    pool = make_pool(max_workers=1, max_queue=100)
    executor = request_executor()
    with Gate() as gate:
        request_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        futures = [executor.submit(int) for _ in range(60)]

        def down(left):
            try:
                return down(left)
            except RecursionError:
                left.pop().cancel()
                raise

        with pytest.raises((RecursionError, IndexError)):
            down(list(futures))
    assert not wait(futures, timeout=10).not_done
    wait_until(lambda: pool.stats().idle == pool.stats().workers)
    assert pool.stats().queued == pool.stats().owners_waiting == 0


def test_a_fan_out_that_was_ended_before_it_was_admitted_starts_nothing(make_pool):
    pool = make_pool(max_workers=1)
    fan_out = FanOut(current_executor().owner, has_caller=True)
    fan_out.unstarted.extend(Task(int, fan_out) for _ in range(3))
    pool.expire(fan_out)
    assert pool.admit(fan_out) is None
    assert isinstance(fan_out.ending.error, DeadlineExceeded)
    assert pool.stats().run_by_callers == pool.stats().queued == 0


def test_an_endings_error_names_the_tasks_that_were_running_whoever_asks_for_it_first(make_pool):
    """Its caller's own time may be up while the watcher still has to ask for their names."""
    pool = make_pool(max_workers=1)
    gate, naming = Gate(), Gate()
    done = threading.Event()

    class Named(Task):
        @property
        def name(self):
            if threading.current_thread() is not threading.main_thread():
                naming(None)
            return "a slow one"

    fan_out = FanOut(current_executor().owner)
    future = pool.submit_to(fan_out, Named(gate))
    wait_until(lambda: gate.inside == 1)

    def end():
        pool.end((fan_out,), DeadlineExceeded, "Too late.")
        done.set()

    ending = threading.Thread(target=end)
    ending.start()
    wait_until(lambda: naming.inside == 1)
    assert str(fan_out.ending.error).endswith("Running: a slow one")
    assert not done.is_set()
    naming.open()
    gate.open()
    ending.join(10)
    assert done.is_set()
    assert str(future.exception(10)).endswith("Running: a slow one")


def test_what_comes_to_the_lock_after_its_deadline_is_not_started():
    """The watcher has looked for it by then, and looks once."""
    now = [0.0]
    pool = CommonPool(PoolConfig(max_workers=1), clock=lambda: now[0])
    fan_out = FanOut(Owner(pool, deadline=10.0))
    now[0] = 10.0
    with pytest.raises(DeadlineExceeded, match="Nothing was started"):
        pool.submit_to(fan_out, Task(int))
    assert not fan_out.owner.fan_outs
    pool.close(0)


def test_a_worker_whose_thread_ends_on_its_way_to_sleep_is_not_counted_on(
    make_pool, caplog, monkeypatch
):
    pool = make_pool(max_workers=1)
    turn = Dispatch.turn

    class Thrown(BaseException):
        """What a debugger or a server throws into a thread."""

    def turn_then_error(self, worker, done):
        decided = turn(self, worker, done)
        if decided[0] is None:
            raise Thrown
        return decided

    monkeypatch.setattr(Dispatch, "turn", turn_then_error)
    current_executor().submit(int).result()
    wait_until(lambda: pool.stats().workers == 0)
    monkeypatch.undo()
    assert (pool.stats().busy, pool.stats().idle) == (0, 0)
    assert wait([current_executor().background(int)], timeout=10).done
    assert "ends" in caplog.text
