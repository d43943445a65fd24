"""What can go wrong: one root, the kinds that Python knows too, and messages with the numbers."""

from __future__ import annotations

import concurrent.futures
import inspect
import pickle

import pytest

import commonpool
from commonpool import (
    CommonPoolError,
    ConfigError,
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    TaskCancelled,
    WrongThread,
    current_executor,
    run_in_parallel,
)
from tests.helpers import Gate, wait_until

KINDS = [
    CommonPoolError,
    ConfigError,
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    TaskCancelled,
    WrongThread,
]


def test_these_are_all_the_kinds_that_there_are():
    public = [getattr(commonpool, name) for name in commonpool.__all__]
    assert [
        thing for thing in public if inspect.isclass(thing) and issubclass(thing, Exception)
    ] == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_common_pool_error(kind):
    assert issubclass(kind, CommonPoolError)


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (ConfigError, ValueError),
        (DeadlineExceeded, TimeoutError),
        (DeadlineExceeded, concurrent.futures.TimeoutError),
        (TaskCancelled, concurrent.futures.CancelledError),
        (PoolClosed, RuntimeError),
        (WrongThread, RuntimeError),
    ],
)
def test_each_kind_is_what_python_calls_it_too(kind, known):
    assert issubclass(kind, known)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling(kind):
    error = kind("3 of 4 workers busy")
    error.add_note("in task 2 of 5")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__notes__) == (kind, str(error), error.__notes__)


def test_retry_after_survives_pickling():
    error = PoolSaturated("full")
    error.retry_after = 7
    assert pickle.loads(pickle.dumps(error)).retry_after == 7


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_in_its_docstring_what_it_means(kind):
    assert kind.__doc__ != kind.__mro__[1].__doc__
    assert kind.__doc__


def test_pool_saturated_carries_the_numbers_and_what_to_do(make_pool):
    pool = make_pool(max_workers=1, max_queue=1, overflow="reject")
    with Gate() as gate:
        pool.submit(gate)
        wait_until(lambda: gate.inside)
        pool.submit(int)
        with pytest.raises(PoolSaturated) as caught:
            pool.submit(int)
    message = str(caught.value)
    assert "1 of 1 workers started (1 busy" in message
    assert "1 of 1 waiting places taken" in message
    assert "Raise max_queue or max_workers" in message


def test_deadline_exceeded_carries_the_numbers(make_pool):
    make_pool(max_workers=1)
    with Gate() as gate, pytest.raises(DeadlineExceeded) as caught:
        run_in_parallel([gate, int], timeout=0.3)
    message = str(caught.value)
    assert "The deadline" in message
    assert "1 of its tasks were running and are abandoned" in message
    assert "0 had not started" in message
    assert "1 of 1 workers busy, 0 of 4 waiting places taken" in message


def test_a_deadline_that_passed_long_ago_says_how_long(request_executor):
    executor = request_executor(0.0)  # the moment when the machine was started
    with pytest.raises(DeadlineExceeded, match=r"passed \d+\.\d s ago. Nothing was started"):
        executor.submit(int)


def test_task_cancelled_names_the_task(make_pool):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        pool.submit(gate)
        wait_until(lambda: gate.inside)
        future = pool.submit(int)
        future.cancel()
    with pytest.raises(TaskCancelled, match=r"builtins\.int was cancelled before it started"):
        future.result()


def test_a_sibling_that_was_cancelled_says_which_task_failed(make_pool):
    make_pool(max_workers=1)

    def failing() -> None:
        raise KeyError

    with Gate() as gate:
        current_executor().submit(gate)
        wait_until(lambda: gate.inside)
        group = current_executor().task_group()
        with pytest.raises(KeyError), group:
            # the one worker stands at the gate: the block's end runs the first itself
            siblings = [group.submit(task) for task in (failing, int)]
    with pytest.raises(TaskCancelled, match=r"failing, of the same group, failed"):
        siblings[1].result()


def test_pool_closed_says_how_long_the_pool_was_drained(make_pool):
    pool = make_pool(max_workers=1)
    with Gate() as gate:
        future = current_executor().background(gate)
        wait_until(lambda: gate.inside)
        pool.close(0)
        with pytest.raises(PoolClosed, match=r"drained for 0\.\d s"):
            future.result()
