"""Promises 9 and 10: it is fork-safe, and gone in time. Each in a process of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from commonpool import CommonPool, PoolConfig, process
from tests.helpers import run_python

IN_THE_CHILD = """
    import os, signal, sys, threading, time
    from commonpool import PoolClosed, current_executor, run_in_parallel
    from commonpool.process import current_pool

    def in_a_child(check):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # a hang ends the child with a signal
            try:
                check()
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status

    def both_sides():
        barrier = threading.Barrier(3)
        idents = run_in_parallel([lambda: (barrier.wait(10), threading.get_ident())[1]] * 3)
        assert len(set(idents)) == 3

"""


def passes(source: str) -> None:
    done = run_python(IN_THE_CHILD + source)
    assert done.returncode == 0, done.stderr


def test_a_pool_that_was_warm_in_the_parent_works_in_the_child_and_in_the_parent():
    passes("""
    both_sides()
    for _ in range(20):
        in_a_child(both_sides)
    both_sides()
    """)


def test_a_pool_that_was_busy_in_the_parent_works_in_the_child():
    passes("""
    stop = threading.Event()
    def traffic():
        while not stop.is_set():
            run_in_parallel([lambda: None] * 50)
    busy = threading.Thread(target=traffic)
    busy.start()
    for _ in range(50):  # the parent's locks are held now and then at the moment of the fork
        in_a_child(both_sides)
    stop.set()
    busy.join()
    """)


def test_child_and_parent_have_pools_of_their_own():
    passes("""
    both_sides()
    pool = current_pool()
    assert pool.pid == os.getpid()
    def check():
        assert current_pool() is not pool
        assert current_pool().pid == os.getpid()
        assert current_pool().config == pool.config
    in_a_child(check)
    assert current_pool() is pool
    """)


def test_an_executor_handed_out_before_the_fork_works_in_the_child():
    passes("""
    executor = current_executor()
    executor.submit(lambda: 1).result()
    def check():
        assert executor.submit(os.getpid).result() == os.getpid()
        with executor.task_group() as group:
            future = group.submit(lambda: 2)
        assert future.result() == 2
    in_a_child(check)
    """)


def test_a_task_of_the_parent_is_a_clear_error_in_the_child():
    passes("""
    gate = threading.Event()
    future = current_executor().submit(gate.wait)
    def check():
        for read in (future.result, future.exception, future.cancel):
            try:
                read()
            except PoolClosed as error:
                assert f"submitted in process {os.getppid()}" in str(error), error
            else:
                raise AssertionError("no error")
    in_a_child(check)
    gate.set()
    assert future.result()
    """)


def test_a_fork_inside_a_task_works_in_the_child():
    passes("""
    current_executor().submit(in_a_child, both_sides).result(timeout=20)
    """)


def test_the_parent_s_pool_is_not_closed_by_the_child_s_exit():
    passes("""
    gate = threading.Event()
    future = current_executor().background(gate.wait)
    pid = os.fork()
    if pid == 0:
        sys.exit(0)  # with atexit, as gunicorn's worker processes do
    assert os.waitpid(pid, 0)[1] == 0
    gate.set()
    assert future.result()
    both_sides()
    """)


def test_an_exit_ends_in_time_with_a_task_that_never_returns():
    started_at = time.monotonic()
    done = run_python(
        """
        import threading
        from commonpool import current_executor
        started = threading.Event()
        def never_returns():
            started.set()
            threading.Event().wait()
        current_executor().background(never_returns)
        started.wait()
        """,
        COMMONPOOL_DRAIN_TIMEOUT="0.2",
    )
    assert done.returncode == 0
    assert time.monotonic() - started_at < 15  # a hang, not a measure
    assert "left behind" in done.stderr
    assert "never_returns" in done.stderr


def test_an_exit_drains_background_work_and_its_own_background_work():
    done = run_python(
        """
        import os
        from commonpool import current_executor, run_in_parallel
        def outer():
            os.write(1, b"outer\\n")
            os.write(1, b" ".join(run_in_parallel([lambda: b"fan", lambda: b"out\\n"])))
            current_executor().background(os.write, 1, b"inner\\n")
        for _ in range(3):
            current_executor().background(outer)
        """
    )
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == sorted(["outer", "fan", "out", "inner"] * 3)


def test_ctrl_c_ends_a_script_that_waits():
    done = run_python(
        """
        import os, signal, threading
        from commonpool import current_executor
        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait()
        try:
            with current_executor().task_group(timeout=20) as group:
                group.submit(interrupt)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        COMMONPOOL_DRAIN_TIMEOUT="0.2",
    )
    assert done.stdout == "interrupted\n", done.stderr


def test_of_many_threads_that_ask_first_all_get_the_same_pool():
    for _ in range(50):
        process.reset()
        barrier = threading.Barrier(8)

        def ask(barrier=barrier):
            barrier.wait(10)
            return process.current_pool()

        with ThreadPoolExecutor(8) as threads:
            pools = {future.result() for future in [threads.submit(ask) for _ in range(8)]}
        assert len(pools) == 1


def test_a_middleware_with_a_config_that_differs_from_the_living_pool_s_is_an_error():
    process.configure(PoolConfig(max_workers=3))
    process.current_pool()
    process.configure(None)
    process.configure(PoolConfig(max_workers=3))
    with pytest.raises(ValueError, match=r"max_workers=3[\s\S]*max_workers=4"):
        process.configure(PoolConfig(max_workers=4))


def test_closing_twice_does_nothing():
    pool = CommonPool(PoolConfig(max_workers=1))
    pool.submit(lambda: 1).result(timeout=10)
    pool.close()
    pool.close()
    assert pool.stats().closed
    assert pool.stats().workers == 0
