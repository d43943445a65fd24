"""Two APIs of others that take 2 s and 1 s, called from a view; then what calling them often costs.

After the timed request come 1,000 more, for which the APIs answer at once: how many connections
has each way opened to the APIs in the end? A client that lives as long as the process keeps its
own; one that is made in each request opens one for each API, each time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module

import httpx
from flask import Flask, request

import commonpool.ext.asyncio  # noqa: F401 - registers coroutines as tasks
from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from stack.ways import Timing
from stack.ways.remote import remote
from stack.ways.serving import (
    PATIENCE,
    ask,
    keep_asking,
    own_pool,
    served,
    served_by_uvicorn,
    unless_missing,
)

TITLE = "Two APIs of 2 s and 1 s, called from a view"
COLUMNS = ("s",)

SECONDS = (2.0, 1.0)
REQUESTS = 1000
CLIENTS = 4
"""How many of these requests are under way at a time."""

CERTIFICATES = ssl.create_default_context()
"""Made once for the clients of all requests: else it is what they cost most."""

Served = Callable[[str], AbstractContextManager[str]]


def measure(scale: float) -> list[Timing]:
    """Time each way, with APIs that take so many times 2 s and 1 s.

    And with so many times 1,000 requests, 20 at least.
    """
    requests = max(round(REQUESTS * scale), 20)
    quart = "Quart under uvicorn, one AsyncClient"
    return [
        _timing("one after another, one Client", scale, requests, sequential),
        _timing("asyncio.run in the view, an AsyncClient in it", scale, requests, loop_per_request),
        unless_missing(quart, "quart", "uvicorn") or _timing(quart, scale, requests, on_quart),
        _timing("run_in_parallel, one AsyncClient", scale, requests, in_parallel),
    ]


@contextmanager
def sequential(api: str) -> Iterator[str]:
    """The view as it is written first."""
    app = Flask(__name__)
    with httpx.Client(base_url=api, timeout=PATIENCE, trust_env=False) as client:

        @app.get("/")
        def view() -> list[int]:
            return [client.get("/", params={"seconds": s}).json() for s in wanted()]

        with served(app) as url:
            yield url


@contextmanager
def loop_per_request(api: str) -> Iterator[str]:
    """An event loop for each request; a client cannot outlive the loop that it was used in."""
    app = Flask(__name__)

    async def gather(seconds: list[str]) -> list[int]:
        async with httpx.AsyncClient(
            base_url=api, timeout=PATIENCE, trust_env=False, verify=CERTIFICATES
        ) as client:
            calls = (client.get("/", params={"seconds": s}) for s in seconds)
            return [response.json() for response in await asyncio.gather(*calls)]

    @app.get("/")
    def view() -> list[int]:
        return asyncio.run(gather(wanted()))

    with served(app) as url:
        yield url


@contextmanager
def on_quart(api: str) -> Iterator[str]:
    """Coroutines from end to end."""
    with served_by_uvicorn(import_module("stack.ways.on_quart").create(api)) as url:
        yield url


@contextmanager
def in_parallel(api: str) -> Iterator[str]:
    """Coroutines in a view of Flask, on the event loop of the process."""
    app = Flask(__name__)
    FlaskCommonPool(app)
    client = httpx.AsyncClient(base_url=api, timeout=PATIENCE, trust_env=False)

    @app.get("/")
    def view() -> list[int]:
        calls = [client.get("/", params={"seconds": s}) for s in wanted()]
        return [response.json() for response in run_in_parallel(calls)]

    with served(app) as url:
        yield url
        run_in_parallel([client.aclose()])  # on the loop that its connections belong to


def wanted() -> list[str]:
    """How long the APIs are to take for this request."""
    return request.args.getlist("seconds")


def _timing(way: str, scale: float, requests: int, serve: Served) -> Timing:
    with own_pool(), remote() as apis, serve(apis.address) as url:
        timed = "&".join(f"seconds={seconds * scale}" for seconds in SECONDS)
        answer = ask(f"{url}/?{timed}")[0]
        at_once = apis.waits.peak
        keep_asking(f"{url}/?seconds=0&seconds=0", requests, CLIENTS)
        connections = apis.connections
    return Timing(
        way=way,
        seconds=(answer.seconds,),
        at_once=at_once,
        connections=connections,
        note=f"of {requests + 1:,} requests",
    )
