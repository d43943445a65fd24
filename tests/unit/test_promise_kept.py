"""Short tasks are left to their caller, and workers are called as soon as one takes long."""

from __future__ import annotations

import contextlib
import gc
import math
import threading
import time
from contextvars import ContextVar
from functools import partial
from unittest import mock
from weakref import ref

import pytest

from commonpool import DeadlineExceeded, OwnerExecutor, current_executor, pace, run_in_parallel
from commonpool.kept_task import KeptTask
from commonpool.owner import current
from commonpool.pace import FORGETTING, LEAST_WEIGHT, LONG, OUTLIER, SURPRISE, WORTH, Pace
from commonpool.task import FEW, FanOut
from tests.helpers import busy, wait_until

LIMIT = 30  # seconds after which a test hangs


def asked(fan_out, **options):
    """What a fan-out gives that is always asked for at the same place."""
    return fan_out(**options)


@pytest.fixture
def busy_pool(make_pool):
    """A pool whose workers take long to come, so that the tasks of these tests are short."""
    pool = make_pool(max_workers=4)
    with busy(pool):
        yield pool


def test_tasks_that_are_known_to_be_short_are_run_by_their_caller(busy_pool):

    def where():
        return threading.get_ident()

    for turn in range(2):
        before = busy_pool.stats().run_by_callers
        found = run_in_parallel([where] * 5)
        if turn:
            assert set(found) == {threading.get_ident()}
            assert busy_pool.stats().run_by_callers == before + 5


@pytest.mark.usefixtures("busy_pool")
def test_tasks_of_which_nothing_is_known_are_side_by_side():
    barrier = threading.Barrier(5)
    assert len(run_in_parallel([lambda: barrier.wait(LIMIT)] * 5)) == 5


@pytest.mark.usefixtures("busy_pool")
def test_workers_are_called_for_the_rest_while_their_caller_is_in_a_task_that_takes_long():
    gate = threading.Event()
    waits = False

    def task(index=None):
        if waits and index == 0:
            assert gate.wait(LIMIT)
        elif index == 4:
            gate.set()
        return threading.get_ident()

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(5)])

    asked(fan_out)
    assert set(asked(fan_out)) == {threading.get_ident()}
    gate.clear()
    waits = True
    first, *others = asked(fan_out)
    assert first == threading.get_ident()
    assert threading.get_ident() not in others


def test_workers_are_called_for_the_rest_when_all_together_take_long(busy_pool, monkeypatch):
    # each is short; only the watcher sees that there are so many
    handed_over = threading.Event()
    takes_time = False

    def task():
        if takes_time:
            handed_over.wait(0.001)
        return threading.get_ident()

    def fan_out():
        return run_in_parallel([task] * 10_000)

    assert len(set(asked(fan_out))) > 1
    assert set(asked(fan_out)) == {threading.get_ident()}
    takes_time = True
    hand_over = busy_pool._dispatch.hand_over  # noqa: SLF001 - to know when

    def noted(kept, tasks):
        worker = hand_over(kept, tasks)
        handed_over.set()
        return worker

    monkeypatch.setattr(busy_pool._dispatch, "hand_over", noted)  # noqa: SLF001
    monkeypatch.setattr(busy_pool._keeping, "_is_long", lambda _: True)  # noqa: SLF001
    assert len(asked(fan_out)) == 10_000
    assert handed_over.is_set()


def test_a_worker_or_the_caller_has_what_was_kept_never_both(busy_pool):
    # the watcher hands over what the caller is taking from at the same time
    pool, calls = busy_pool, 40
    keeping = pool._keeping  # noqa: SLF001 - the threads meet in its midst
    ran = []

    def handing_over(kept):
        keeping_add(kept)
        thread = threading.Thread(target=pool._hand_over, args=(kept,))  # noqa: SLF001 - as it does
        threads.append(thread)
        thread.start()

    def task(index):
        ran.append(index)
        return index

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(calls)])

    asked(fan_out)
    threads, keeping_add = [], keeping.add
    with mock.patch.object(keeping, "add", handing_over):
        for _ in range(50):
            ran.clear()
            assert asked(fan_out) == list(range(calls))
            assert sorted(ran) == list(range(calls))
    for thread in threads:
        thread.join(LIMIT)


def test_what_its_caller_is_done_with_is_not_handed_over(busy_pool, monkeypatch):
    # the watcher has seen that it takes long, and comes when that is over
    dispatch = busy_pool._dispatch  # noqa: SLF001 - the threads meet in its midst
    end_keeping, left, stops = dispatch.end_keeping, [], False

    def late(kept):
        end_keeping(kept)
        busy_pool._hand_over(kept)  # noqa: SLF001 - what the watcher calls
        fan_out = kept.fan_out
        left.append((len(kept.handed_over), len(fan_out.unstarted), fan_out.places))

    def task(index):
        if stops and index == 1:
            end = time.monotonic() + 0.01
            while time.monotonic() < end:
                pass
        return index

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(5)])

    monkeypatch.setattr(dispatch, "end_keeping", late)
    for surprise in (SURPRISE, 0.0):
        stops = not surprise
        with mock.patch.object(pace, "SURPRISE", surprise):
            assert asked(fan_out) == [0, 1, 2, 3, 4]
    assert left == [(0, 0, 0)]


def test_nothing_is_kept_in_a_pool_that_closes(busy_pool):
    where = []

    def fan_out():
        run_in_parallel([lambda: where.append(1)] * 2)

    asked(fan_out)
    with mock.patch.object(busy_pool._keeping, "add") as watched:  # noqa: SLF001
        asked(fan_out)
        assert watched.called
        watched.reset_mock()
        busy_pool.close(1)
        for _ in range(2):
            asked(fan_out)
    assert not watched.called
    assert len(where) == 8


def test_the_tasks_of_a_caller_that_keeps_them_do_not_see_each_others_context(busy_pool):
    variable = ContextVar("variable", default=0)

    def task():
        variable.set(variable.get() + 1)
        return variable.get()

    for _ in range(2):
        before = busy_pool.stats().run_by_callers
        assert run_in_parallel([task] * 5) == [1] * 5
    assert busy_pool.stats().run_by_callers == before + 5
    assert variable.get() == 0


@pytest.mark.usefixtures("busy_pool")
def test_who_changes_the_list_of_tasks_meanwhile_changes_nothing():
    tasks = []
    for _ in range(2):
        tasks[:] = [lambda: tasks.append(None)] * 3
        assert run_in_parallel(tasks) == [None] * 3
        assert len(tasks) == 6


@pytest.mark.usefixtures("busy_pool")
def test_what_is_no_function_of_pythons_is_kept_too():
    class Here:
        def ident(self):
            return threading.get_ident()

        def __call__(self):
            return threading.get_ident()

        __hash__ = None

    here = Here()
    for _ in range(2):
        found = run_in_parallel([threading.get_ident, partial(here.ident), here.ident, here])
    assert set(found) == {threading.get_ident()}


@pytest.mark.usefixtures("busy_pool")
@pytest.mark.parametrize("kept", [False, True])
def test_of_what_is_kept_the_errors_are_the_same(kept):
    async def coroutine():
        pass

    bad = False

    def task(index):
        if bad and index == 1:
            return coroutine()
        return index

    def fan_out(**options):
        return run_in_parallel(
            {f"key {index}": lambda index=index: task(index) for index in range(3)}, **options
        )

    if kept:
        asked(fan_out)
    bad = True
    with pytest.raises(TypeError, match="is an async function") as caught:
        asked(fan_out)
    assert "'key 1'" in caught.value.__notes__[0]


@pytest.mark.usefixtures("busy_pool")
def test_nothing_is_started_where_one_of_what_is_kept_is_no_task():
    done = []

    async def coroutine():
        pass

    def fan_out(*, last):
        return run_in_parallel([lambda: done.append(1), last])

    asked(fan_out, last=lambda: None)
    for last in (coroutine, 1, "x"):
        with pytest.raises(TypeError, match=r"task must be|is an async function"):
            asked(fan_out, last=last)
    assert done == [1]


@pytest.mark.usefixtures("busy_pool")
def test_where_errors_are_results_what_follows_is_run():
    fails = False

    def task(index):
        if fails and index == 1:
            raise LookupError(index)
        return index

    def fan_out():
        return run_in_parallel(
            [lambda index=index: task(index) for index in range(4)], return_exceptions=True
        )

    asked(fan_out)
    fails = True
    first, error, *others = asked(fan_out)
    assert [first, *others] == [0, 2, 3]
    assert type(error) is LookupError


def test_ctrl_c_in_what_is_kept_ends_the_fan_out(busy_pool):
    done, stops = [], False

    def task(index):
        done.append(index)
        if stops and index == 1:
            raise KeyboardInterrupt
        return index

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(4)])

    asked(fan_out)
    done.clear()
    stops = True
    with pytest.raises(KeyboardInterrupt):
        asked(fan_out)
    assert done == [0, 1]
    assert busy_pool.stats().queued == 0


def test_the_deadline_ends_what_is_kept(busy_pool):
    done, late = [], False

    def task(index):
        done.append(index)
        if late and index == 1:
            wait_until(lambda: time.monotonic() >= executor.deadline)

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(4)])

    asked(fan_out)
    done.clear()
    late = True
    executor = OwnerExecutor(time.monotonic() + 1.0)
    token = current.set(executor)
    try:
        with (
            mock.patch.object(busy_pool._keeping, "add"),  # noqa: SLF001 - no worker is called
            pytest.raises(DeadlineExceeded, match=r"The caller itself was running .*lambda"),
        ):
            asked(fan_out)
    finally:
        current.reset(token)
        executor.end()
    assert done == [0, 1]


def test_the_deadline_ends_what_was_handed_over_before_its_caller_began(busy_pool):
    late, done = False, []

    def fan_out():
        return run_in_parallel([lambda: done.append(1)] * 4)

    asked(fan_out)
    done.clear()
    run_all = KeptTask.run_all

    def after_the_watcher(kept):
        if late:
            busy_pool._hand_over(kept)  # noqa: SLF001 - what the watcher calls
            wait_until(lambda: time.monotonic() >= kept.fan_out.deadline)
        run_all(kept)

    late = True
    gate = threading.Event()
    others = [busy_pool.submit(gate.wait, LIMIT) for _ in range(4)]
    wait_until(lambda: busy_pool.stats().busy == 4)  # no worker is free to take any
    executor = OwnerExecutor(time.monotonic() + 0.2)
    token = current.set(executor)
    try:
        with (
            mock.patch.object(KeptTask, "run_all", after_the_watcher),
            pytest.raises(DeadlineExceeded),
        ):
            asked(fan_out)
    finally:
        current.reset(token)
        executor.end()
        gate.set()
    assert done == []
    assert all(future.result() for future in others)


def test_a_failure_cancels_what_was_handed_over(busy_pool):
    handed_over, fails = threading.Event(), False
    done = []

    def task(index):
        done.append(index)
        if fails and index == 0:
            assert handed_over.wait(LIMIT)
            raise LookupError
        return index

    def fan_out():
        return run_in_parallel([lambda index=index: task(index) for index in range(40)])

    asked(fan_out)
    gate = threading.Event()
    others = [busy_pool.submit(gate.wait, LIMIT) for _ in range(4)]
    wait_until(lambda: busy_pool.stats().busy == 4)  # no worker is free to take any
    done.clear()
    fails = True
    hand_over = busy_pool._dispatch.hand_over  # noqa: SLF001 - to know when

    def noted(kept, tasks):
        worker = hand_over(kept, tasks)
        handed_over.set()
        return worker

    with (
        mock.patch.object(busy_pool._dispatch, "hand_over", noted),  # noqa: SLF001
        pytest.raises(LookupError, match=None),
    ):
        asked(fan_out)
    assert done == [0]
    assert busy_pool.stats().cancelled == 39
    assert busy_pool.stats().queued == 0
    gate.set()
    assert all(future.result() for future in others)


def test_of_many_tasks_all_but_the_longest_tell_how_long_they_run():
    fan_out = FanOut(current_executor().owner)
    fan_out.times += [9.0, 5.0] + [1.0] * (2 * FEW)
    assert fan_out.typical_time == (5 + 2 * FEW) / (2 * FEW + 1)


def test_a_failure_cancels_what_its_caller_keeps(busy_pool):
    done = []
    fails = False

    def task(index):
        done.append(index)
        if fails and index == 1:
            raise LookupError

    def fan_out():
        run_in_parallel([lambda index=index: task(index) for index in range(5)])

    asked(fan_out)
    done.clear()
    fails = True
    cancelled = busy_pool.stats().cancelled
    with pytest.raises(LookupError, match=None):
        asked(fan_out)
    assert done == [0, 1]
    assert busy_pool.stats().cancelled == cancelled + 3


@pytest.mark.usefixtures("busy_pool")
def test_what_has_a_time_limit_of_its_own_is_not_kept():

    def where():
        return threading.get_ident()

    for timeout in (None, LIMIT):
        found = run_in_parallel([where] * 2, timeout=timeout)
    assert threading.get_ident() not in found


@pytest.mark.usefixtures("own_pace")
def test_what_is_known_to_be_short_is_kept():
    pace = Pace()
    pace.arrived(0.001, 0.0)
    pace.ran("short", 0.0009 * WORTH)
    pace.ran("long", 0.0011 * WORTH)
    assert pace.keeps("short")
    assert not pace.keeps("long")
    assert not pace.keeps("new")


def test_the_second_longest_of_its_tasks_is_a_fan_outs_time():
    fan_out = FanOut(current_executor().owner)
    fan_out.times += (3.0, 1.0, 9.0, 4.0, 2.0)
    assert fan_out.typical_time == 4.0


@pytest.mark.usefixtures("own_pace")
def test_the_least_time_counts_and_is_forgotten_slowly():
    pace = Pace()
    pace.arrived(0.001, 0.0)
    for seconds in (0.003, 0.002, 0.005):
        pace.ran("a", seconds)
    pace.arrived(0.002 * FORGETTING / WORTH / LEAST_WEIGHT, math.inf)
    assert pace.keeps("a")


@pytest.mark.usefixtures("own_pace")
def test_what_has_lately_taken_long_is_not_kept_where_it_is_short_for_once():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 1.1 * OUTLIER)
    pace.ran("a", 0.001)
    assert not pace.keeps("a")
    for _ in range(20):
        pace.ran("a", 0.001)
    assert pace.keeps("a")


@pytest.mark.usefixtures("own_pace")
def test_what_is_long_is_not_kept_on_any_machine():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 0.9 * LONG)
    pace.ran("b", 1.1 * LONG)
    assert pace.keeps("a")
    assert not pace.keeps("b")


@pytest.mark.usefixtures("own_pace")
def test_a_time_that_is_far_above_the_least_takes_its_place():
    pace = Pace()
    pace.arrived(1.0, 0.0)
    pace.ran("a", 0.001)
    pace.ran("a", pace.surprise * 1.01)
    assert not pace.keeps("a")


@pytest.mark.usefixtures("busy_pool")
@pytest.mark.parametrize("fails", [False, True])
def test_of_what_was_kept_nothing_is_kept_alive(fails):
    class Value:
        pass

    def call(value, *, raises):
        if raises:
            raise LookupError
        return value

    def fan_out(*, raises):
        values = [Value() for _ in range(3)]
        tasks = [lambda value=value: call(value, raises=raises) for value in values]
        references.extend(map(ref, values))
        with contextlib.suppress(LookupError):
            run_in_parallel(tasks)

    references = []
    asked(fan_out, raises=False)
    gc.collect()
    gc.disable()
    try:
        references.clear()
        asked(fan_out, raises=fails)
        assert [reference() for reference in references] == [None] * 3
    finally:
        gc.enable()
