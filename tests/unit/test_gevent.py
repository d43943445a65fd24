"""Under gevent the pool's tasks are greenlets: each program runs in a Python of its own."""

from __future__ import annotations

import textwrap

import pytest

from tests.helpers import run_python

pytest.importorskip("gevent", reason="gevent has no wheel for this Python yet")

PATCHED = {
    "before the import": "PATCH\nIMPORT",
    "after the import": "IMPORT\nPATCH",
}
PATCH = "from gevent import monkey; monkey.patch_all()"
IMPORT = "import commonpool, commonpool.ext.asyncio, commonpool.ext.flask"

SETUP = """
    import contextvars, logging, math, os, threading, time
    import gevent
    from commonpool import *
    from commonpool.owner import current
    from commonpool.process import configure, current_pool
    logging.basicConfig(format="%(message)s")

    def at_once(number):
        "Tasks that wait for each other."
        barrier = threading.Barrier(number)
        def wait():
            barrier.wait(20)
            return threading.get_native_id(), gevent.getcurrent()
        return [wait] * number
"""


def run(source: str, order: str = "PATCH\nIMPORT", **variables: str) -> list[str]:
    """What a program prints, line by line. Nothing may be left on its stderr."""
    program = order.replace("PATCH", PATCH).replace("IMPORT", IMPORT)
    done = run_python(
        "\n".join([program, textwrap.dedent(SETUP), textwrap.dedent(source)]), **variables
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


whenever_it_is_patched = pytest.mark.parametrize("order", PATCHED.values(), ids=PATCHED.keys())


@whenever_it_is_patched
def test_tasks_are_greenlets_of_one_thread(order):
    assert run(
        """
        arrived = run_in_parallel(at_once(8))
        print({thread for thread, _ in arrived} == {threading.get_native_id()})
        print(len({greenlet for _, greenlet in arrived}))
        """,
        order,
    ) == ["True", "8"]


@whenever_it_is_patched
def test_the_others_go_on_while_a_caller_waits(order):
    assert run(
        """
        gate = threading.Event()
        def other():
            "Begins when the caller sleeps, since greenlets take turns only where one waits."
            print("goes on")
            gate.set()
        gevent.spawn_later(0.01, other)
        print(run_in_parallel([lambda: gate.wait(20)] * 3))
        with current_executor().task_group(timeout=20) as group:
            gate.clear()
            waiting = group.submit(gate.wait, 20)
            gevent.spawn_later(0.01, gate.set)
        print(waiting.result())
        """,
        order,
    ) == ["goes on", "[True, True, True]", "True"]


@whenever_it_is_patched
def test_each_greenlet_runs_its_own_task(order):
    # With Python's own thread locals all greenlets would seem to run the task that began last.
    assert run(
        """
        from commonpool import task
        def own(number):
            return [(task.running.task.fan_out.parent, gevent.sleep(0.001))[0] for _ in range(9)]
        def nested(number):
            mine = task.running.task
            tasks = [lambda: (gevent.sleep(0.001), task.running.task.fan_out.parent)[1]] * 3
            same = all(parent is mine for _ in range(9) for parent in run_in_parallel(tasks))
            return same and task.running.task is mine
        def request(number):
            executor = OwnerExecutor(math.inf)
            with executor:
                results = list(executor.map(nested, range(4)))
            return all(results) and task.running.task is None
        greenlets = [gevent.spawn(request, number) for number in range(20)]
        gevent.joinall(greenlets, raise_error=True)
        print({greenlet.value for greenlet in greenlets}, task.running.task)
        """,
        order,
    ) == ["{True} None"]


@whenever_it_is_patched
def test_a_full_pool_of_greenlets_never_deadlocks(order):
    assert run(
        """
        configure(PoolConfig(max_workers=2, max_queue=2))
        def down(depth):
            if depth:
                time.sleep(0.001)
                return sum(run_in_parallel([lambda: down(depth - 1)] * 3))
            return 1
        greenlets = [gevent.spawn(down, 4) for _ in range(5)]
        gevent.joinall(greenlets, raise_error=True)
        print({greenlet.value for greenlet in greenlets})
        stats = current_pool().stats()
        print(stats.workers, stats.busy, stats.queued)
        """,
        order,
    ) == ["{81}", "2 0 0"]


@whenever_it_is_patched
def test_deadlines_are_kept_and_the_abandoned_greenlet_is_shown_where_it_is(order):
    done = run_python(
        f"{order.replace('PATCH', PATCH).replace('IMPORT', IMPORT)}\n{textwrap.dedent(SETUP)}"
        + textwrap.dedent(
            """
            def stuck():
                threading.Event().wait()
            try:
                run_in_parallel([stuck, stuck], timeout=0.1)
            except DeadlineExceeded as error:
                print("in time")
            print(current_pool().stats().abandoned)
            """
        ),
        COMMONPOOL_DRAIN_TIMEOUT="0.1",
    )
    assert done.stdout.split("\n")[:2] == ["in time", "2"], done.stderr
    assert done.returncode == 0
    assert "in stuck" in done.stderr


@whenever_it_is_patched
def test_a_process_ends_in_time_though_a_greenlet_never_does(order):
    done = run_python(
        f"{order.replace('PATCH', PATCH).replace('IMPORT', IMPORT)}\n{textwrap.dedent(SETUP)}"
        + textwrap.dedent(
            """
            current_executor().background(threading.Event().wait)
            current_executor().background(lambda: (time.sleep(0.2), print("drained")))
            gevent.sleep(0.01)
            """
        ),
        COMMONPOOL_DRAIN_TIMEOUT="0.5",
        limit=10,
    )
    assert (done.returncode, done.stdout) == (0, "drained\n"), done.stderr
    assert "left behind" in done.stderr


@whenever_it_is_patched
def test_a_greenlet_that_is_killed_takes_its_unstarted_tasks_with_it(order):
    assert run(
        """
        configure(PoolConfig(max_workers=1))
        gate, ran = threading.Event(), []
        def victim():
            "One task is at the worker, one it runs itself since there is no other, one waits."
            run_in_parallel([gate.wait, gate.wait, lambda: ran.append(1)], timeout=20)
        greenlet = gevent.spawn(victim)
        while not current_pool().stats().busy:
            gevent.sleep(0.001)
        logging.disable()  # that what was running is abandoned
        greenlet.kill()
        gate.set()
        while current_pool().stats().busy:
            gevent.sleep(0.001)
        print(ran, current_pool().stats().cancelled, current_pool().stats().queued)
        """,
        order,
    ) == ["[] 1 0"]


@whenever_it_is_patched
def test_a_coroutine_is_refused_with_what_to_do(order):
    assert run(
        """
        async def fn():
            pass
        for thing in (fn, fn()):
            try:
                run_in_parallel([thing])
            except TypeError as error:
                print("runs as a greenlet" in str(error))
        """,
        order,
    ) == ["True", "True"]


def test_a_pool_that_had_threads_before_is_one_clear_line_and_goes_on():
    done = run_python(
        f"{IMPORT}\n"
        "from commonpool import run_in_parallel\n"
        "import time\n"
        "run_in_parallel([lambda: time.sleep(0.01)] * 4, timeout=20)\n"
        f"{PATCH}\n{textwrap.dedent(SETUP)}"
        "for _ in range(3):\n"
        "    print(run_in_parallel([lambda: time.sleep(0.01)] * 4, timeout=20))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[None, None, None, None]"] * 3
    lines = [line for line in done.stderr.splitlines() if "gevent-early-monkey-patch" in line]
    assert len(lines) == 1, done.stderr
    assert "4 of 32 workers started" in lines[0]


@whenever_it_is_patched
def test_on_a_thread_of_gevents_own_threadpool_tasks_run_one_after_another(order):
    assert run(
        """
        def elsewhere():
            return [thread == threading.get_native_id()
                    for thread in run_in_parallel([threading.get_native_id] * 3)]
        current_executor().submit(int).result()
        print(gevent.get_hub().threadpool.apply(elsewhere))
        print(len({greenlet for _, greenlet in run_in_parallel(at_once(4))}))
        print(current_executor().submit(threading.get_native_id).result(timeout=20)
              == threading.get_native_id())
        """,
        order,
    ) == ["[True, True, True]", "4", "True"]


def test_without_a_patch_gevent_changes_nothing():
    assert run(
        """
        print(len({thread for thread, _ in run_in_parallel(at_once(4))}))
        """,
        "import gevent.monkey\nIMPORT",
    ) == ["4"]
