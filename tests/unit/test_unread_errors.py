"""Nothing fails in silence: an error that nobody asks for is logged once, in its context."""

from __future__ import annotations

import contextvars
import gc
from concurrent.futures import wait

import pytest

from commonpool import OwnerExecutor, TaskCancelled, current_executor, run_in_parallel
from tests.helpers import Gate, wait_until

request_id = contextvars.ContextVar("request_id", default="-")


class Broken(Exception):
    """What the tasks raise."""


def broken():
    raise Broken


@pytest.fixture
def errors(caplog):
    """The errors logged so far: message, kind, and the request's id as a filter sees it."""
    ids = {}

    def note(record):
        ids[record] = request_id.get()
        return True

    caplog.handler.addFilter(note)
    request_id.set("abc")

    def found():
        gc.collect()
        return [
            (record.getMessage(), record.exc_info[0], ids[record])
            for record in caplog.records
            # what other tests have left may be collected here
            if record.exc_info and record.exc_info[0] is Broken
        ]

    yield found
    caplog.handler.removeFilter(note)
    request_id.set("-")


def test_an_error_that_nobody_asks_for_is_logged_once_with_its_requests_id(make_pool, errors):
    make_pool(max_workers=2)
    for _ in range(3):
        wait([current_executor().submit(broken)])
    wait_until(lambda: len(errors()) == 3)
    message, kind, id_ = errors()[0]
    assert message.endswith("broken failed, and nobody asked for its result")
    assert (kind, id_) == (Broken, "abc")
    assert len(set(errors())) == 1


@pytest.mark.parametrize("in_time", [None, 10])
def test_an_error_that_somebody_asks_for_is_not_logged(make_pool, errors, in_time):
    make_pool(max_workers=2)
    future = current_executor().submit(broken)
    with pytest.raises(Broken):
        future.result(in_time)
    assert isinstance(current_executor().submit(broken).exception(in_time), Broken)
    with pytest.raises(Broken):
        next(current_executor().map(lambda _: broken(), [1]))
    with pytest.raises(Broken), current_executor().task_group() as group:
        group.submit(broken)
    del group, future
    assert errors() == []


def test_who_has_asked_in_vain_has_not_asked(make_pool, errors):
    make_pool(max_workers=1)
    gate = Gate()

    def late():
        gate()
        raise Broken

    future = current_executor().submit(late)
    wait_until(lambda: gate.inside)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    gate.open()
    wait([future])
    del future
    wait_until(lambda: len(errors()) == 1)


def test_a_callback_that_asks_has_asked(make_pool, errors):
    make_pool(max_workers=1)
    asked = []
    future = current_executor().submit(broken)
    future.add_done_callback(lambda future: asked.append(future.exception()))
    wait([future])
    del future
    wait_until(lambda: asked)
    assert errors() == []


def test_what_runs_in_its_caller_is_logged_too(make_pool, errors):
    make_pool()
    executor = OwnerExecutor()
    executor.end()
    executor.submit(broken)
    wait_until(lambda: [kind for _, kind, _ in errors()] == [Broken])


def test_an_error_of_a_cancelled_or_ended_task_is_the_pools_and_not_logged_here(make_pool, errors):
    make_pool(max_workers=1)
    gate = Gate()
    executor = OwnerExecutor()
    first, second = executor.submit(gate), executor.submit(broken)
    wait_until(lambda: gate.inside)
    executor.end()
    gate.open()
    for future in (first, second):
        with pytest.raises(TaskCancelled):
            future.result()
    assert errors() == []


def test_what_fails_beside_the_error_that_is_raised_is_logged_once(make_pool, errors):
    make_pool(max_workers=3)
    gates = [Gate(), Gate()]

    def second():
        gates[0]()
        raise Broken

    def third():
        gates[1]()
        raise Broken

    def first():
        wait_until(lambda: gates[0].inside and gates[1].inside)
        for gate in gates:
            gate.open()
        raise Broken("the first")

    with pytest.raises(Broken):
        run_in_parallel([first, second, third], timeout=60)
    (message, kind, id_) = errors()[0]
    assert len(errors()) == 1
    assert " and 1 more failed, too, beside " in message
    assert "whose error is raised" in message
    assert (kind, id_) == (Broken, "abc")


def test_exceptions_that_are_returned_are_not_logged(make_pool, errors):
    make_pool()
    found = run_in_parallel([broken] * 5, return_exceptions=True)
    assert [type(error) for error in found] == [Broken] * 5
    assert errors() == []


def test_an_abandoned_task_that_fails_after_all_is_logged(make_pool, errors):
    make_pool(max_workers=1)
    gate = Gate()

    def late():
        gate()
        raise Broken

    executor = OwnerExecutor()
    future = executor.submit(late)
    wait_until(lambda: gate.inside)
    executor.end()
    gate.open()
    wait_until(lambda: len(errors()) == 1)
    message, kind, id_ = errors()[0]
    assert message.startswith("abandoned task ")
    assert message.endswith("late failed")
    assert (kind, id_) == (Broken, "abc")
    assert isinstance(future.exception(), TaskCancelled)


def test_an_abandonment_is_logged_with_its_requests_id(make_pool, caplog):
    make_pool(max_workers=1)
    gate = Gate()
    ids = []

    def note(record):
        ids.append((record.levelname, request_id.get()))
        return True

    caplog.handler.addFilter(note)
    request_id.set("abc")
    executor = OwnerExecutor()
    executor.submit(gate)
    wait_until(lambda: gate.inside)
    request_id.set("another")
    executor.end()
    gate.open()
    caplog.handler.removeFilter(note)
    assert [id_ for level, id_ in ids if level == "WARNING"] == ["abc"]


def test_a_background_failure_is_logged_once_read_or_not(make_pool, errors):
    make_pool(max_workers=1)
    future = current_executor().background(broken)
    assert isinstance(future.exception(), Broken)
    wait([current_executor().background(broken)])
    wait_until(lambda: len(errors()) == 2)
    assert all("background task" in message for message, *_ in errors())


def test_a_group_whose_error_is_raised_says_it_once(make_pool, errors):
    make_pool(max_workers=2)
    gate = Gate()

    def second():
        gate()
        raise Broken

    with pytest.raises(Broken), current_executor().task_group() as group:  # noqa: PT012
        futures = [group.submit(second), group.submit(second)]
        wait_until(lambda: gate.inside == 2)
        gate.open()
        wait(futures)
        del futures
    del group
    wait_until(lambda: len(errors()) == 1)  # of the other one
    message, _, _ = errors()[0]
    assert "nobody asked" in message


def test_a_filter_that_raises_replaces_no_error(make_pool, caplog):
    make_pool(max_workers=3)

    def refuse(_record):
        raise RuntimeError("a filter that is out of its depth")

    caplog.handler.addFilter(refuse)
    gate = Gate()
    try:

        def task():
            gate()
            raise Broken

        def opener():
            wait_until(lambda: gate.inside == 2)
            gate.open()

        with pytest.raises(Broken):
            run_in_parallel([task, task, opener], timeout=60)
    finally:
        caplog.handler.removeFilter(refuse)
