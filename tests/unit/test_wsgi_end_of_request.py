"""A request ends with its response, however that ends; background work goes on after it."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from commonpool import CommonPoolMiddleware, PoolSaturated, TaskCancelled, current_executor
from tests.helpers import Gate, wait_until
from tests.unit.wsgi_helpers import KEY, TEXT, Closing, ask_directly, new_environ


class Forgetful:
    """An application that submits two tasks to one worker, and waits for neither."""

    def __init__(self, body: Iterable[bytes] | None = None) -> None:
        self.gate = Gate()
        self.body = body
        self.futures: list[Any] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        self.executor = environ[KEY]
        self.futures = [self.executor.submit(self.gate)]
        wait_until(lambda: self.gate.inside)
        self.futures.append(self.executor.submit(int))
        return Closing(b"1", b"2") if self.body is None else self.body


@pytest.fixture
def forgetful() -> Iterator[Forgetful]:
    app = Forgetful()
    yield app
    app.gate.open()


def close_it(body: Any) -> None:
    body.close()


def exhaust_it(body: Any) -> None:
    """An outer layer that never calls close."""
    assert list(body) == [b"1", b"2"]


@pytest.mark.parametrize("finish", [close_it, exhaust_it])
def test_at_its_end_unstarted_tasks_are_cancelled_and_started_ones_abandoned(
    make_pool, forgetful, finish
):
    pool = make_pool(max_workers=1)
    body = CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None)
    assert (pool.stats().queued, pool.stats().cancelled) == (1, 0)

    finish(body)

    stats = pool.stats()
    assert (stats.queued, stats.cancelled, stats.abandoned) == (0, 1, 1)
    started, unstarted = forgetful.futures
    assert unstarted.cancelled()
    with pytest.raises(TaskCancelled, match="The request ended first"):
        started.result()
    forgetful.gate.open()
    wait_until(lambda: pool.stats().abandoned == pool.stats().busy == 0)


@pytest.mark.parametrize("body", [[b"list"], [], (b"tuple",)])
def test_a_response_without_code_ends_the_request_when_it_is_returned(make_pool, forgetful, body):
    pool = make_pool(max_workers=1)
    forgetful.body = body
    CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None)
    assert (pool.stats().cancelled, pool.stats().abandoned) == (1, 1)


@pytest.mark.parametrize("error", [KeyError("wrong"), PoolSaturated("full"), SystemExit(1)])
def test_an_error_in_a_step_ends_the_request_before_it_is_closed(make_pool, forgetful, error):
    pool = make_pool(max_workers=1)
    forgetful.body = Closing(b"1", error)
    body = iter(CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None))
    next(body)
    with pytest.raises(type(error)):
        next(body)
    assert (pool.stats().cancelled, pool.stats().abandoned) == (1, 1)


@pytest.mark.parametrize("error", [KeyError("wrong"), PoolSaturated("full"), SystemExit(1)])
def test_an_error_of_the_application_ends_the_request(make_pool, forgetful, error):
    pool = make_pool(max_workers=1)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        forgetful(environ, start_response)
        raise error

    with contextlib.suppress(KeyError, SystemExit):
        CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    assert (pool.stats().cancelled, pool.stats().abandoned) == (1, 1)


def test_between_steps_the_request_lives(make_pool, forgetful):
    pool = make_pool(max_workers=1)
    body = CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None)
    next(iter(body))
    assert (pool.stats().queued, pool.stats().cancelled, pool.stats().abandoned) == (1, 0, 0)
    forgetful.gate.open()
    assert forgetful.futures[1].result() == 0
    body.close()


def test_after_its_end_what_is_submitted_runs_at_once_where_it_is_submitted():
    executors = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        executors.append(environ[KEY])
        return []

    CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    future = executors[0].submit(threading.get_ident)
    assert future.done()
    assert future.result() == threading.get_ident()


def test_background_work_goes_on_after_the_response(way, make_pool):
    pool = make_pool(max_workers=1)
    futures = []
    with Gate() as gate:

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", TEXT)
            futures.extend(environ[KEY].background(gate, n) for n in range(2))
            return [b"at once"]

        assert way.ask(app).body == b"at once"
        assert pool.stats().cancelled == 0
        gate.open()
        assert [future.result() for future in futures] == [0, 1]


def test_background_work_does_not_run_as_the_request_that_sent_it():
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        same = environ[KEY].background(lambda: current_executor() is environ[KEY]).result()
        return [str(same).encode()]

    assert ask_directly(CommonPoolMiddleware(app)).body == b"False"


def test_a_response_that_is_dropped_without_close_leaves_nothing_behind(make_pool):
    pool = make_pool(max_workers=1)
    executors = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        executors.append(weakref.ref(environ[KEY]))
        environ[KEY].submit(int)
        yield b"first"

    body = CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    next(iter(body))
    del body
    wait_until(lambda: pool.stats().busy == pool.stats().queued == 0)
    gc.collect()
    assert executors[0]() is None
