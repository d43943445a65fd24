"""What cannot be run is refused at once, by name, and with what to pass instead."""

from __future__ import annotations

import functools
import gc
import math
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from commonpool import DeadlineExceeded, as_task, current_executor, run_in_parallel
from commonpool.process import current_pool

HUGE = 10**310  # an int that no float can hold


async def coroutine_function(*_: Any) -> None: ...


async def async_generator_function(*_: Any) -> AsyncIterator[int]:
    yield 1


class Asynchronous:
    async def method(self, *_: Any) -> None: ...

    async def __call__(self, *_: Any) -> None: ...


# The ways in


def in_a_fan_out(thing: Any) -> Any:
    return run_in_parallel([int, thing, int])


def in_a_mapping(thing: Any) -> Any:
    return run_in_parallel({"a": int, "b": thing})


def submitted(thing: Any) -> Any:
    return current_executor().submit(thing).result()


def submitted_with_arguments(thing: Any) -> Any:
    return current_executor().submit(thing, 1).result()


def mapped(thing: Any) -> Any:
    return list(current_executor().map(thing, [1]))


def in_a_group(thing: Any) -> Any:
    with current_executor().task_group() as group:
        return group.submit(thing).result()


def in_the_background(thing: Any) -> Any:
    return current_executor().background(thing).result()


def given_to_the_pool(thing: Any) -> Any:
    return current_pool().submit(thing).result()


WAYS = [
    in_a_fan_out,
    in_a_mapping,
    submitted,
    submitted_with_arguments,
    mapped,
    in_a_group,
    in_the_background,
    given_to_the_pool,
]
IN_FAN_OUTS = [in_a_fan_out, in_a_mapping]


# Things that are no tasks


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("thing", [None, 1, "text", b"bytes", ["row", "row"], {"a": 1}, object()])
def test_what_cannot_be_called_is_refused_with_what_to_pass_instead(way, thing):
    with pytest.raises(TypeError, match="a task must be something to call, not ") as caught:
        way(thing)
    assert f"not {type(thing).__name__} (" in str(caught.value)
    assert "pass the function itself, without its brackets" in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "thing",
    [
        coroutine_function,
        functools.partial(coroutine_function, 1),
        functools.partial(functools.partial(coroutine_function), 1),
        Asynchronous().method,
        Asynchronous(),
        lambda *_: coroutine_function(),
    ],
    ids=["function", "partial", "partial of partial", "method", "object", "lambda"],
)
def test_what_is_asynchronous_is_refused_with_how_to_run_it(way, thing):
    with pytest.raises(TypeError, match=r"has no event loop.*lambda: asyncio\.run\(fn\(\)\)"):
        way(thing)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "thing", [async_generator_function, functools.partial(async_generator_function, 1)]
)
def test_an_async_generator_function_is_refused(way, thing):
    with pytest.raises(TypeError, match="event loop"):
        way(thing)


@pytest.mark.parametrize("way", WAYS)
def test_a_coroutine_is_refused_without_a_warning_that_it_was_never_awaited(way):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match=r"coroutine_function is a coroutine: .* event loop"):
            way(coroutine_function())
        gc.collect()
    assert seen == []


def test_several_coroutines_are_refused_without_a_warning_for_any_of_them():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(TypeError, match="is a coroutine"):
            run_in_parallel([coroutine_function() for _ in range(3)])
        gc.collect()
    assert [str(warning.message) for warning in seen] == []


def test_the_note_says_which_task_of_the_list_it_was():
    with pytest.raises(TypeError) as caught:
        run_in_parallel([int, int, None])
    assert caught.value.__notes__ == ["as task 3 of run_in_parallel"]


def test_the_note_says_under_which_key_it_was():
    with pytest.raises(TypeError) as caught:
        run_in_parallel({"a": int, "b": None})
    assert caught.value.__notes__ == ["as task 'b' of run_in_parallel"]


@pytest.mark.parametrize("way", IN_FAN_OUTS)
def test_when_one_task_is_refused_none_is_started(way):
    way(int)
    before = current_pool().stats()
    with pytest.raises(TypeError):
        way(None)
    assert current_pool().stats() == before


def test_as_task_refuses_what_nothing_is_known_to_run():
    with pytest.raises(TypeError, match="a task must be something to call, not int"):
        as_task(3)


# Things that are no lists of tasks


@pytest.mark.parametrize("tasks", ["text", b"bytes", None, 3, int, lambda: 1])
def test_what_is_no_list_of_tasks_is_refused_by_its_type(tasks):
    with pytest.raises(TypeError) as caught:
        run_in_parallel(tasks)
    assert str(caught.value).startswith(
        f"run_in_parallel takes a list of tasks, or a dict of them, not {type(tasks).__name__} ("
    )


@pytest.mark.parametrize(
    ("tasks", "results"),
    [([], []), ((), []), (iter(()), []), ({}, {})],
    ids=lambda value: type(value).__name__,
)
def test_no_tasks_have_no_results(tasks, results):
    assert run_in_parallel(tasks) == results


@pytest.mark.parametrize("empty", [[], {}])
def test_no_tasks_make_no_pool(monkeypatch, empty):
    monkeypatch.setenv("COMMONPOOL_MAX_WORKERS", "so wrong that no pool can be made")
    assert not run_in_parallel(empty)


@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys], ids=lambda kind: kind.__name__)
def test_any_iterable_of_tasks_will_do(kind):
    tasks = kind([functools.partial(int, text) for text in "312"])
    if isinstance(tasks, dict):
        tasks = tasks.keys()
    assert run_in_parallel(tasks) == [3, 1, 2]


def test_a_generator_of_tasks_will_do():
    def tasks() -> Iterator[Callable[[], int]]:
        for n in range(3):
            yield lambda n=n: n

    assert run_in_parallel(tasks()) == [0, 1, 2]


def test_an_error_of_the_iterable_is_raised_before_anything_starts():
    ran = []

    def tasks() -> Iterator[Callable[[], None]]:
        yield lambda: ran.append(1)
        raise KeyError("in the generator")

    with pytest.raises(KeyError, match="in the generator"):
        run_in_parallel(tasks())
    assert ran == []


def test_keys_may_be_anything_that_hashes():
    assert run_in_parallel({None: int, (1, 2): str, 0.5: list}) == {None: 0, (1, 2): "", 0.5: []}


def test_results_stand_under_the_keys_in_their_order():
    assert list(run_in_parallel(dict.fromkeys("cab", int))) == ["c", "a", "b"]


def test_an_object_that_has_an_answer_to_everything_is_named_all_the_same():
    class Agreeable:
        """As `unittest.mock.Mock` is: whatever it is asked for, it has."""

        asked = 0

        def __call__(self) -> None:
            raise KeyError("wrong")

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            Agreeable.asked += 1
            assert Agreeable.asked < 100, "asked without end"
            return Agreeable()

    with pytest.raises(KeyError) as caught:
        run_in_parallel([Agreeable()])
    assert "Agreeable" in caught.value.__notes__[0]


# Time limits


def fan_out_within(timeout: Any) -> Any:
    return run_in_parallel([int], timeout=timeout)


def group_within(timeout: Any) -> Any:
    with current_executor().task_group(timeout) as group:
        future = group.submit(int)
    return [future.result()]


def map_within(timeout: Any) -> Any:
    return list(current_executor().map(int, ["0"], timeout=timeout))


LIMITED = [fan_out_within, group_within, map_within]


@pytest.mark.parametrize("limited", LIMITED)
@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_a_timeout_that_is_no_duration_is_an_error_that_shows_it(limited, timeout):
    with pytest.raises(ValueError, match=f"timeout must be 0 seconds or more, got {timeout}"):
        limited(timeout)


@pytest.mark.parametrize("limited", LIMITED)
@pytest.mark.parametrize("timeout", ["1", True, False, [1], 1j])
def test_a_timeout_that_is_no_number_is_an_error_that_shows_it(limited, timeout):
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, got ") as e:
        limited(timeout)
    assert repr(timeout) in str(e.value)


@pytest.mark.parametrize("timeout", [-1, "1"])
def test_a_wrong_timeout_is_an_error_though_there_are_no_tasks(timeout):
    with pytest.raises((TypeError, ValueError), match="timeout must be "):
        run_in_parallel([], timeout=timeout)


@pytest.mark.parametrize("limited", LIMITED)
@pytest.mark.parametrize("timeout", [0, 0.0])
def test_without_any_time_the_deadline_has_passed(limited, timeout):
    with pytest.raises(DeadlineExceeded, match="Nothing was started"):
        limited(timeout)


def test_without_any_time_nothing_runs():
    ran = []
    with pytest.raises(DeadlineExceeded):
        run_in_parallel([lambda: ran.append(1)], timeout=0)
    assert ran == []


@pytest.mark.parametrize("limited", LIMITED)
@pytest.mark.parametrize("timeout", [None, math.inf, 1e308, 10**18, HUGE])
def test_time_without_end_is_time_enough(limited, timeout):
    assert limited(timeout) == [0]
