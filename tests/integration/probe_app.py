"""A small WSGI application without Flask, for facts about the middleware under uWSGI.

Settings are variables:
    PROBE_EVENTS: a file to which lines are added.
    PROBE_HOOK: there is an exit hook before the middleware has one.
    PROBE_SMALL: the pool is full soon, and rejects.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uwsgi  # it exists inside uWSGI alone

from commonpool import CommonPoolMiddleware, PoolConfig, run_in_parallel

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

GATE = threading.Event()


def event(text: str) -> None:
    """Add a line to the file of events: one write, so that processes do not mix theirs."""
    with Path(os.environ["PROBE_EVENTS"]).open("a") as file:
        file.write(f"{text} {os.getpid()}\n")


def four_at_once() -> list[tuple[int, str]]:
    """Where four tasks run that wait for each other: the process, and the thread of each."""
    barrier = threading.Barrier(4)

    def who() -> tuple[int, str]:
        barrier.wait(10)
        return os.getpid(), threading.current_thread().name

    return run_in_parallel([who] * 4)


def parallel(_: WSGIEnvironment) -> Any:
    """A fan-out of four."""
    return {"pid": os.getpid(), "tasks": four_at_once()}


def deadline(environ: WSGIEnvironment) -> Any:
    """How many seconds the request has left."""
    return environ["commonpool.executor"].deadline - time.monotonic()


def saturate(environ: WSGIEnvironment) -> Any:
    """One task for the only worker, one for the only waiting place, and one too many."""
    executor = environ["commonpool.executor"]
    try:
        for _ in range(3):
            executor.submit(GATE.wait, 5)
    finally:
        GATE.set()


def background(environ: WSGIEnvironment) -> Any:
    """Work that goes on after the answer, and after the order to end."""
    executor = environ["commonpool.executor"]
    event("background-submitted")
    executor.background(finish_later)
    return "submitted"


def finish_later() -> None:
    """A task that is still running when the process is to end."""
    event("background-started")
    time.sleep(1)
    event("background-finished")


def slow(_: WSGIEnvironment) -> Any:
    """A request that takes a second."""
    time.sleep(1)
    return "slow"


def late(_: WSGIEnvironment) -> Any:
    """A fan-out that ends after any deadline of the tests."""
    return run_in_parallel([lambda: time.sleep(2)] * 3)


VIEWS: dict[str, Callable[[WSGIEnvironment], Any]] = {
    f"/{view.__name__}": view for view in (parallel, deadline, saturate, background, slow, late)
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what the view returns, as JSON."""
    body = json.dumps(VIEWS[environ["PATH_INFO"]](environ)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


if os.environ.get("PROBE_HOOK"):
    uwsgi.atexit = lambda: event("earlier-hook")

config = None
if os.environ.get("PROBE_SMALL"):
    config = PoolConfig(max_workers=1, max_queue=1, overflow="reject", deadline=1)
application = CommonPoolMiddleware(app, config)
