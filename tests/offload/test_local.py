"""Offloaded calls in processes of this machine."""

from __future__ import annotations

import asyncio
import operator
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial

import pytest

from commonpool import (
    CommonPool,
    DeadlineExceeded,
    OwnerExecutor,
    TaskCancelled,
    current_executor,
    run_in_parallel,
    testing,
)
from commonpool.ext.asyncio import run_in_parallel_async
from commonpool.ext.offload import OffloadError, offload
from commonpool.process import current_pool
from tests.helpers import has_ended, run_python, wait_until
from tests.offload import work
from tests.offload.conftest import Folder, children_of

MakePool = Callable[..., CommonPool]
MakeExecutor = Callable[..., OwnerExecutor]


# What they give


def test_results_come_from_other_processes_in_order_or_under_keys():
    assert run_in_parallel([offload(work.add)(1), os.getpid, offload(work.add)(2, b=5)]) == [
        2,
        os.getpid(),
        7,
    ]
    pids = run_in_parallel({"a": offload(work.pid)(), "b": offload(work.pid)})
    assert set(pids) == {"a", "b"}
    assert os.getpid() not in pids.values()


def test_every_way_to_submit_takes_them(request_executor: MakeExecutor):
    executor = request_executor()
    assert executor.submit(offload(work.add)(1)).result() == 2
    assert executor.submit(offload(work.add), 1, b=2).result() == 3
    assert executor.submit(partial(offload(work.add), 4)).result() == 5
    assert list(executor.map(offload(work.add), [1, 2, 3], [10, 20, 30])) == [11, 22, 33]
    assert executor.background(offload(work.add)(5)).result() == 6
    with executor.task_group() as group:
        futures = [group.submit(offload(work.add)(n)) for n in range(3)]
    assert [future.result() for future in futures] == [1, 2, 3]
    assert wait([executor.submit(offload(work.add)(6))]).done.pop().result() == 7


def test_an_event_loop_goes_on_while_it_awaits_them():
    async def main() -> list[object]:
        return await run_in_parallel_async([offload(work.add)(1), asyncio.sleep(0, 5)])

    with pytest.MonkeyPatch.context() as patch:
        from commonpool import adapters  # noqa: PLC0415 - for this test
        from commonpool.ext.asyncio.coroutines import coroutine_task  # noqa: PLC0415 - the same

        patch.setattr(adapters, "async_adapters", [coroutine_task])
        assert asyncio.run(main()) == [2, 5]


def test_builtins_methods_classes_and_decorated_functions_can_be_offloaded():
    calls = [
        offload(operator.mul)(6, 7),
        offload("a-b".split)("-"),
        offload(complex)(1, 2),
        offload(partial(work.add, b=3))(4),
        work.doubled(21),
    ]
    assert run_in_parallel(calls) == [42, ["a", "b"], 1 + 2j, 7, 42]
    assert work.doubled.__wrapped__(2) == 4
    assert work.doubled.__doc__ == "Twice a value."
    assert offload(work.doubled) is work.doubled


def test_arguments_are_copies_made_at_the_call():
    items = [1]
    call = offload(work.append)(items)
    items.append(2)
    (result,) = run_in_parallel([call])
    assert result[0] == 1
    assert len(result) == 2
    assert items == [1, 2]


def test_large_arguments_and_results_go_through():
    data = os.urandom(20_000_000)
    assert run_in_parallel([offload(work.echo)(data)] * 2) == [data, data]


def test_what_an_error_is_and_where_it_was_raised_comes_back():
    with pytest.raises(KeyError, match="gone") as caught:
        run_in_parallel([offload(work.add)(1), offload(work.fails)("gone")])
    assert caught.value.__notes__ == [
        "in task 2 of 2 of a run_in_parallel: tests.offload.work.fails"
    ]
    assert "work.py" in str(caught.value.__cause__)
    assert "raise KeyError(message)" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (offload(work.fails_oddly)(), "it raised what cannot be pickled: .*Refused: that"),
        (offload(work.fails_with_what_is_not_known_here)(), r"Hidden: of that process\) cannot be"),
        (offload(work.exits)(), "it raised SystemExit: 3"),
        (offload(work.returns_a_lambda)(), "its result, of type function, cannot be pickled"),
        (offload(work.dies)("exit"), "its process ended with exit code 7"),
        (offload(work.dies)("SIGKILL"), "its process was ended by SIGKILL: out of memory"),
        (offload(work.dies)("SIGSEGV"), "its process was ended by SIGSEGV"),
    ],
    ids=["odd", "unknown", "exits", "lambda", "exit", "SIGKILL", "SIGSEGV"],
)
def test_what_cannot_come_back_is_an_error_of_its_own_call_alone(
    make_pool: MakePool, folder: Folder, call: object, said: str
):
    make_pool(offload_workers=2)
    neighbour = current_executor().submit(offload(work.held)(str(folder), "neighbour"))
    folder.wait_for(1)
    with pytest.raises(OffloadError, match=said):
        run_in_parallel([call])
    assert run_in_parallel([offload(work.add)(1)] * 3) == [2, 2, 2]
    folder.open()
    assert neighbour.result() == "neighbour"


def test_a_process_that_dies_while_it_waits_for_a_call_is_replaced(make_pool: MakePool):
    make_pool(offload_workers=1)
    (first,) = run_in_parallel([offload(work.pid)()])
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: has_ended(first))
    (second,) = run_in_parallel([offload(work.pid)()])
    assert second != first


# What is refused


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (lambda: None, "stand in a module"),
        (work.returns_a_lambda(), "stand in a module"),
        (partial(lambda value: value, 1), "stand in a module"),
        (threading.Lock().acquire, "cannot be sent"),
        (work.asynchronous, "is an async function"),
        (5, r"offload\(fn\)\(\*args\), not"),
    ],
)
def test_what_another_process_cannot_find_or_run_is_refused_at_once(thing: object, said: str):
    with pytest.raises(TypeError, match=said):
        offload(thing)


def test_arguments_that_cannot_be_pickled_are_refused_by_the_call():
    with pytest.raises(TypeError, match=r"a call of tests\.offload\.work\.echo cannot be sent"):
        offload(work.echo)(threading.Lock())


def test_a_function_of_the_main_program_is_refused():
    done = run_python("""
        from commonpool.ext.offload import offload
        def f(): pass
        offload(f)
    """)
    assert "TypeError: __main__.f belongs to the program that was started" in done.stderr


# Bounds, and turns


def test_they_need_no_worker_and_never_more_processes_than_places(
    make_pool: MakePool, folder: Folder
):
    pool = make_pool(offload_workers=2)
    executor = current_executor()
    futures = [executor.submit(offload(work.held)(str(folder), str(n))) for n in range(6)]
    folder.wait_for(2)
    stats = pool.stats()
    assert (stats.offloaded, stats.workers, stats.coroutines) == (6, 0, 0)
    assert "6 offloaded" in repr(pool)
    assert len(children_of(os.getpid())) == 2
    assert len(folder.order()) == 2
    folder.open()
    assert [future.result() for future in futures] == [str(n) for n in range(6)]
    assert len({pid for _, pid in folder.order()}) == 2
    wait_until(lambda: pool.stats().offloaded == 0)


def test_owners_take_turns(make_pool: MakePool, folder: Folder):
    make_pool(offload_workers=1)
    large, small = OwnerExecutor(), OwnerExecutor()
    futures = [large.submit(offload(work.held)(str(folder), f"large{n}")) for n in range(4)]
    folder.wait_for(1)
    futures.append(small.submit(offload(work.held)(str(folder), "small")))
    wait_until(lambda: current_pool().stats().offloaded == 5)
    folder.open()
    for future in futures:
        future.result()
    assert [name for name, _ in folder.order()].index("small") <= 2


# Their ends


def test_a_deadline_kills_the_process_of_its_call_and_no_other(make_pool: MakePool, folder: Folder):
    make_pool(offload_workers=2)
    neighbour = current_executor().submit(offload(work.held)(str(folder), "neighbour"))
    folder.wait_for(1)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"Running: tests\.offload\.work\.never_ends"):
        run_in_parallel([offload(work.never_ends)(str(folder), "late")], timeout=1.0)
    assert time.monotonic() - begun < 10
    late = dict(folder.order()).get("late")
    if late is not None:
        wait_until(lambda: has_ended(late))
    assert run_in_parallel([offload(work.add)(1)]) == [2]
    folder.open()
    assert neighbour.result() == "neighbour"


@pytest.mark.parametrize("way", ["cancel", "end of request", "sibling", "timeout of a group"])
def test_nobody_who_wants_it_any_more_means_its_process_is_killed(
    request_executor: MakeExecutor, folder: Folder, way: str
):
    executor = request_executor()
    call = offload(work.never_ends)(str(folder), "it")
    if way == "sibling":

        def fails() -> None:
            folder.wait_for(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run_in_parallel([call, fails])
    elif way == "timeout of a group":

        def submits() -> None:
            with executor.task_group(timeout=2.0) as group:
                group.submit(call)
                folder.wait_for(1)

        with pytest.raises(DeadlineExceeded):
            submits()
    else:
        future = executor.submit(call)
        folder.wait_for(1)
        if way == "cancel":
            assert future.cancel()
        else:
            executor.end()
        with pytest.raises(TaskCancelled):
            future.result()
    ((_, pid),) = folder.order()
    wait_until(lambda: has_ended(pid))
    wait_until(lambda: current_pool().stats().offloaded == 0)


def test_what_waits_for_its_turn_can_be_cancelled(make_pool: MakePool, folder: Folder):
    make_pool(offload_workers=1)
    executor = current_executor()
    first, second, third = (
        executor.submit(offload(work.held)(str(folder), name)) for name in ("1", "2", "3")
    )
    folder.wait_for(1)
    assert second.cancel()
    folder.open()
    assert (first.result(), third.result()) == ("1", "3")
    assert [name for name, _ in folder.order()] == ["1", "3"]


def test_a_program_that_a_call_has_started_ends_with_it(folder: Folder):
    future = current_executor().submit(offload(work.runs_a_program)(str(folder)))
    ((_, pid),) = folder.wait_for(1)
    future.cancel()
    wait_until(lambda: has_ended(pid))


def test_whatever_comes_first_its_end_or_its_cancellation_the_places_stay_as_many(
    make_pool: MakePool,
):
    pool = make_pool(offload_workers=2)
    executor = current_executor()
    chance = random.Random(8786)
    for _ in range(30):
        futures = [executor.submit(offload(work.add)(n)) for n in range(4)]
        for future in chance.sample(futures, 2):
            future.cancel()
        for n, future in enumerate(futures):
            assert future.cancelled() or future.result() == n + 1
    assert run_in_parallel([offload(work.add)(n) for n in range(8)]) == list(range(1, 9))
    wait_until(lambda: pool.stats().offloaded == 0)
    assert len(children_of(os.getpid())) <= 2


def test_closing_drains_what_runs_in_the_background(make_pool: MakePool, folder: Folder):
    pool = make_pool(drain_timeout=30)
    future = current_executor().background(offload(work.held)(str(folder), "it"))
    folder.wait_for(1)
    opener = threading.Timer(0.05, folder.open)
    opener.start()
    pool.close()
    assert future.result(0) == "it"
    opener.join()


def test_closing_kills_what_does_not_end_in_time(make_pool: MakePool, folder: Folder):
    pool = make_pool(drain_timeout=0.1)
    current_executor().background(offload(work.never_ends)(str(folder), "it"))
    ((_, pid),) = folder.wait_for(1)
    begun = time.monotonic()
    pool.close()
    assert time.monotonic() - begun < 10
    wait_until(lambda: has_ended(pid))
    assert not children_of(os.getpid())


# Where the caller runs them


def test_inline_runs_them_in_the_caller_in_order():
    with testing.inline():
        assert run_in_parallel([offload(work.pid)(), work.doubled(2)]) == [os.getpid(), 4]
        assert current_executor().submit(offload(work.pid)).result() == os.getpid()
        items: list[int] = []
        run_in_parallel([offload(work.append)(items)])
        assert items == []  # copies here, too
    assert not children_of(os.getpid())


def test_a_setting_has_the_caller_run_them(make_pool: MakePool):
    make_pool(offload="caller")
    assert run_in_parallel([offload(work.pid)()]) == [os.getpid()]


def test_a_closed_pool_has_the_caller_run_them(make_pool: MakePool):
    make_pool().close()
    assert run_in_parallel([offload(work.pid)()]) == [os.getpid()]
    with pytest.raises(KeyError):
        run_in_parallel([offload(work.fails)("here")])


def test_what_an_offloaded_call_offloads_runs_in_its_own_process():
    ((outer, inner),) = run_in_parallel([offload(work.offloads)()])
    assert inner == [outer, outer]


# Processes


def test_a_fork_has_processes_of_its_own():
    done = run_python(
        """
        import os
        from commonpool import run_in_parallel
        from commonpool.ext.offload import offload
        from tests.offload import work
        first = run_in_parallel([offload(os.getppid)()])
        assert first == [os.getpid()]
        child = os.fork()
        if not child:
            ok = run_in_parallel([offload(os.getppid)()] * 3) == [os.getpid()] * 3
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert run_in_parallel([offload(os.getppid)()]) == first
        print("fine")
        """
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_a_program_ends_at_once_and_in_silence_with_processes_that_wait():
    done = run_python(
        """
        from commonpool import run_in_parallel
        from commonpool.ext.offload import offload
        from tests.offload import work
        print(run_in_parallel([offload(work.pid)()] * 2)[0])
        """,
        PYTHONDEVMODE="1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: has_ended(int(done.stdout)))


PROGRAM_THAT_WAITS = """
    import os, pathlib, signal
    from commonpool import run_in_parallel
    from commonpool.ext.offload import offload
    from tests.offload import work
    from tests.helpers import wait_until
    import threading
    def end():
        order = pathlib.Path({folder!r}, "order")
        wait_until(lambda: order.exists() and order.read_text().endswith("\\n"))
        os.kill(os.getpid(), signal.{signal})
    threading.Thread(target=end, daemon=True).start()
    run_in_parallel([offload(work.never_ends)({folder!r}, "it")])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_program_that_is_ended_leaves_no_process_behind(folder: Folder, name: str):
    done = run_python(PROGRAM_THAT_WAITS.format(folder=str(folder), signal=name))
    assert done.returncode == -signal.Signals[name]
    ((_, pid),) = folder.order()
    wait_until(lambda: has_ended(pid))
    if name == "SIGINT":
        assert done.stderr.count("Traceback") == 1, done.stderr
