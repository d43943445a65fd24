"""What a user waits for: requests through nginx, uWSGI and MariaDB, one client."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from stack.bench.samples import Samples, by_turns
from stack.native.servers import Site

SECONDS = 0.1
QUERIES = 6

ONE_QUERY = "one query"
PEERS = {
    "sequential": "sequential",
    "per-request": "a ThreadPoolExecutor per request",
    "bare": "bare shared ThreadPoolExecutor",
    "commonpool": "commonpool",
}
OURS = PEERS["commonpool"]


ENVIRON = {"STACK_APPLICATION": "stack.bench.application:application", "STACK_PROCESSES": "1"}
"""What uWSGI has to be started with: the application that knows all the ways, in one process."""


def measure(site: Site, rounds: Iterable[object]) -> dict[str, Samples]:
    """How long a request takes with one query, and with six in each way, in seconds.

    Args:
        site: started with `ENVIRON`.
        rounds: one item a round.

    Raises:
        RuntimeError: a request was not answered with 200.
    """
    address = urlsplit(site.nginx.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)

    def get(way: str, queries: int) -> Callable[[], None]:
        path = f"/bench/sleep?way={way}&queries={queries}&seconds={SECONDS}"

        def request() -> None:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            if response.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")

        return request

    try:
        return by_turns(
            {ONE_QUERY: get("sequential", 1)}
            | {name: get(way, QUERIES) for way, name in PEERS.items()},
            rounds,
        )
    finally:
        connection.close()
