"""What the integration tests look at processes with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from stack.native.processes import group_members
from stack.native.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.native.servers import Site
    from stack.native.uwsgi import UWSGI

__all__ = ["busy_threads", "get_in_flight", "group_members", "new_client", "threads", "wait_until"]


def new_client(url: str) -> httpx.Client:
    """A client that looks at no proxy settings, and waits longer than any limit of the stack."""
    return httpx.Client(base_url=url, trust_env=False, timeout=60)


def threads(pid: int) -> int:
    """How many threads a process has; none when it has ended."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except FileNotFoundError:
        return 0


def busy_threads(server: UWSGI, pid: int | None = None) -> int:
    """How many requests are being answered at the moment; by one of the processes, or by all."""
    return sum(
        core["in_request"]
        for worker in server.stats()["workers"]
        if pid in (None, worker["pid"])
        for core in worker["cores"]
    )


@contextmanager
def get_in_flight(
    site: Site, path: str, **parameters: Any
) -> Iterator[Callable[[], httpx.Response]]:
    """Have a GET request be answered meanwhile; what is yielded waits for the answer."""
    with new_client(site.nginx.url) as client, ThreadPoolExecutor(1) as thread:
        future: Future[httpx.Response] = thread.submit(client.get, path, params=parameters)
        wait_until(lambda: busy_threads(site.uwsgi), what="the request to arrive")
        yield future.result
