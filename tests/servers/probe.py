"""The application that runs on every server: plain WSGI, and what the tests have to see of it.

Settings are variables:
    PROBE_FOLDER: where `events` is, a file to which lines are added, and where gates are opened.
    PROBE_WARM: the pool is used while the application is loaded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commonpool.ext.asyncio  # noqa: F401 - coroutines are tasks, too
from commonpool import CommonPoolMiddleware, OwnerExecutor, run_in_parallel
from commonpool.ext.offload import offload
from commonpool.greenlets import patched
from commonpool.process import current_pool
from tests.helpers import wait_until
from tests.servers.offloaded import held_there, never_ends, seen_from_there

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

FOLDER = Path(os.environ["PROBE_FOLDER"])
LIMIT = 30.0  # seconds that anything waits for a gate
MOST_CHUNKS = 2000  # of an answer that nobody reads to its end

started = threading.Semaphore(0)  # once for each task that was held


def event(name: str) -> None:
    """Add a line to the file of events: one write, so that processes do not mix theirs."""
    with (FOLDER / "events").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")


def wait_for(gate: str) -> None:
    """Wait until a test has opened a gate, by making a file of that name."""
    wait_until((FOLDER / gate).exists, LIMIT)


def held(gate: str) -> str:
    """A task that waits for a gate."""
    started.release()
    wait_for(gate)
    event(f"through-{gate}")
    return gate


def never_returns() -> None:
    """A task that nothing ends."""
    started.release()
    threading.Event().wait()


async def never_gives_up() -> None:
    """A coroutine that nothing ends."""
    started.release()
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            event("cancelled")


def hold_workers(executor: OwnerExecutor, number: int) -> None:
    """Have background work occupy that many workers, until the gate `release` is opened."""
    for _ in range(number):
        executor.background(held, "release")
    for _ in range(number):
        started.acquire()


def forget(executor: OwnerExecutor) -> None:
    """Submit tasks that nobody waits for, and tell whether they were run or cancelled."""

    def tell(future: Future[None]) -> None:
        if future.cancelled():
            event("forgotten-cancelled")

    for _ in range(3):
        executor.submit(event, "forgotten-ran").add_done_callback(tell)


def four_at_once() -> list[tuple[int, str]]:
    """Where four tasks run that wait for each other: the process, and the thread of each."""
    barrier = threading.Barrier(4)

    def who() -> tuple[int, str]:
        barrier.wait(LIMIT)
        return os.getpid(), threading.current_thread().name

    return run_in_parallel([who] * 4)


def four_coroutines() -> list[int]:
    """In which process four coroutines run that wait for each other."""
    arrived: list[int] = []
    all_there = asyncio.Event()

    async def where() -> int:
        arrived.append(os.getpid())
        if len(arrived) == 4:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), LIMIT)
        return os.getpid()

    return run_in_parallel([where] * 4)


def offloaded(executor: OwnerExecutor) -> Any:
    """Three calls that another process runs, or why that is refused."""
    try:
        tasks = run_in_parallel([offload(seen_from_there)()] * 3)
    except TypeError as error:
        return str(error)
    background = executor.background(offload(seen_from_there)()).result()
    return {"pid": os.getpid(), "tasks": [*tasks, background]}


def offloaded_in_background(executor: OwnerExecutor) -> Any:
    """A call that another process runs until the gate `go` is opened; the process."""
    executor.background(offload(held_there)(str(FOLDER), "go")).add_done_callback(
        lambda future: event(f"offloaded-{future.result()}")
    )
    return os.getpid()


def offloaded_never(executor: OwnerExecutor) -> Any:
    """A call that never ends in another process; this one."""
    executor.background(offload(never_ends)(str(FOLDER)))
    return os.getpid()


# Views. Three workers are expected, and a place for the caller to help.


def parallel(_: OwnerExecutor) -> Any:
    """A fan-out of four."""
    return {"pid": os.getpid(), "tasks": four_at_once()}


def coroutines(_: OwnerExecutor) -> Any:
    """The same, of coroutines."""
    return {"pid": os.getpid(), "tasks": four_coroutines()}


def stats(_: OwnerExecutor) -> Any:
    """The numbers of the pool."""
    return {"pid": os.getpid(), **dataclasses.asdict(current_pool().stats())}


def in_flight(executor: OwnerExecutor) -> Any:
    """One task that runs, three that are queued, background work, and three that are forgotten.

    It waits for the gate `go`, and with it the running task.
    """
    running = executor.submit(held, "go")
    started.acquire()
    hold_workers(executor, 2)
    queued = [executor.submit(str.upper, letter) for letter in "abc"]
    event("arrived")
    wait_for("go")
    results = [running.result(), *(future.result() for future in queued)]
    hold_workers(executor, 1)
    forget(executor)
    return results


def never(executor: OwnerExecutor) -> Any:
    """A task of the request, and two in the background, that never return.

    Under gevent, where coroutines are no tasks, one in the background.
    """
    executor.submit(never_returns)
    executor.background(never_returns)
    if not patched():
        executor.background(never_gives_up)
        started.acquire()
    for _ in range(2):
        started.acquire()
    return os.getpid()


def held_in_tasks(_: OwnerExecutor) -> Any:
    """A fan-out that waits for the gate `go`."""
    event("arrived")
    run_in_parallel([lambda: wait_for("go")] * 6)
    event("finished")


def late(_: OwnerExecutor) -> Any:
    """A fan-out that ends after any deadline."""
    return run_in_parallel([lambda: time.sleep(2)] * 3)


VIEWS: dict[str, Callable[[OwnerExecutor], Any]] = {
    f"/{view.__name__}": view
    for view in (
        *(parallel, coroutines, stats, in_flight, never, held_in_tasks, late),
        *(offloaded, offloaded_in_background, offloaded_never),
    )
}


class Stream:
    """An answer in pieces, whose request has forgotten tasks; tells that it was closed."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._pieces):
            yield b"x" * 65536

    def close(self) -> None:
        event("closed")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what the view returns, as JSON."""
    executor = environ["commonpool.executor"]
    path = environ["PATH_INFO"]
    if path in ("/short_stream", "/endless_stream"):
        hold_workers(executor, 3)
        forget(executor)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Stream(3 if path == "/short_stream" else MOST_CHUNKS)
    body = json.dumps(VIEWS[path](executor)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


application = CommonPoolMiddleware(app)
event("loaded")
if os.environ.get("PROBE_WARM"):
    four_at_once()
    if not patched():
        four_coroutines()
