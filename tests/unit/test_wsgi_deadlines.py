"""The deadline of a request: from when it counts, whose it is, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from commonpool import (
    CommonPoolMiddleware,
    DeadlineExceeded,
    PoolConfig,
    run_in_parallel,
    testing,
)
from tests.helpers import Gate, wait_until
from tests.unit.wsgi_helpers import KEY, TEXT, ask_directly, new_environ, serving


def test_the_deadline_of_the_request_becomes_504(way, make_pool):
    make_pool(max_workers=1, deadline=0.3)
    with Gate() as gate:

        def app(environ: Any, start_response: Any) -> list[bytes]:
            future = environ[KEY].submit(gate)
            wait_until(lambda: gate.inside)
            start_response("200 OK", TEXT)
            return [future.result()]

        assert way.ask(app).status == "504 Gateway Timeout"


def test_a_deadline_that_passes_between_steps_cancels_what_the_next_one_asks_for():
    middleware = CommonPoolMiddleware(serving([]), PoolConfig(deadline=0.01))

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"first"
        wait_until(lambda: time.monotonic() > environ[KEY].deadline)
        yield from run_in_parallel([lambda: b"never"])

    middleware.app = app
    answer = ask_directly(middleware)
    assert answer.body == b"first"
    assert isinstance(answer.error, DeadlineExceeded)


def test_the_deadline_counts_from_the_beginning_of_each_request(monkeypatch):
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        seen.append(environ[KEY].deadline - time.monotonic())
        return []

    served = CommonPoolMiddleware(app, PoolConfig(deadline=60))
    served(new_environ(), lambda *_: None)
    an_hour_later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: an_hour_later)
    served(new_environ(), lambda *_: None)
    assert len(seen) == 2
    assert all(59 < left <= 60 for left in seen)


def test_the_deadline_is_that_of_the_pool_that_there_is_now():
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        seen.append(environ[KEY].deadline - time.monotonic())
        return []

    served = CommonPoolMiddleware(app)
    served(new_environ(), lambda *_: None)
    testing.reset()
    CommonPoolMiddleware(app, PoolConfig(deadline=60))
    served(new_environ(), lambda *_: None)
    assert 59 < seen[1] <= 60
