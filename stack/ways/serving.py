"""Applications served for real, and the clients that ask them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpx
from werkzeug.serving import WSGIRequestHandler, make_server

from commonpool import PoolConfig, process, testing
from stack.ways import Timing

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

HOST = "127.0.0.1"
PATIENCE = 600.0
"""Seconds for a request; a scale above 1 takes its time."""

_LOOK = 0.02  # seconds between two looks of a server at whether it is to end


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was answered.

    Attributes:
        seconds: from the moment at which all clients asked.
        content: of the answer.
        failed: whether it is an error.
    """

    seconds: float
    content: Any
    failed: bool = False


def ask(url: str, clients: int = 1, *, errors: bool = False) -> list[Answer]:
    """Have so many clients ask at once; the answers in the order of their arrival.

    Args:
        url: what they ask for.
        clients: how many.
        errors: whether errors are answers, too.

    Raises:
        httpx.HTTPError: there was no answer, or an error.
    """
    ready = threading.Barrier(clients)

    def one(_: int) -> Answer:
        with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
            ready.wait()
            began = time.perf_counter()
            response = client.get(url)
            seconds = time.perf_counter() - began
            if errors and response.is_error:
                return Answer(seconds, response.text, failed=True)
            return Answer(seconds, response.raise_for_status().json())

    with ThreadPoolExecutor(clients) as threads:
        return sorted(threads.map(one, range(clients)), key=lambda answer: answer.seconds)


def keep_asking(url: str, requests: int, clients: int) -> None:
    """Send requests one after another, from so many clients side by side.

    Raises:
        httpx.HTTPError: there was no answer, or an error.
    """
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False) as client,
        ThreadPoolExecutor(clients) as threads,
    ):
        for response in threads.map(client.get, [url] * requests):
            response.raise_for_status()


@contextmanager
def served(app: WSGIApplication) -> Iterator[str]:
    """Serve a WSGI application while the block runs, each request on a thread; its address."""
    server = make_server(HOST, 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(_LOOK,))
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def served_by_uvicorn(app: Any) -> Iterator[str]:
    """Serve an ASGI application while the block runs; its address."""
    uvicorn = import_module("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", access_log=False))
    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def own_pool(**knobs: Any) -> Iterator[None]:
    """Give the process a pool for the time of the block, whatever variables say."""
    testing.reset()
    process.configure(PoolConfig(**knobs))
    try:
        yield
    finally:
        testing.reset()


def unless_missing(way: str, *modules: str) -> Timing | None:
    """What there is to say of a way which needs modules that are not installed; else `None`."""
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return None
    return Timing(way=way, note=f"not installed: {', '.join(missing)}")


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Say nothing."""
