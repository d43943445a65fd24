"""Row 1: what a fan-out costs where nothing else is going on."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from stack.compare.budget import Budget
from stack.compare.peers import QUERIES, SEQUENTIAL
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, ratio
from stack.compare.rows.row import ServedRow
from stack.compare.serving import PeerError

KEY = "1"
SECONDS = 0.1

ONE, ALL = "one query", f"{QUERIES} queries"

PATHS = {ONE: f"/one?seconds={SECONDS}", ALL: f"/queries?count={QUERIES}&seconds={SECONDS}"}

_WARM_UP = 3  # times that each is asked before it counts


def load(address: str, seconds: float, add: Callable[[str, Iterable[float]], None]) -> None:
    """Ask for one query and for five in turn, request by request, over one connection.

    Not with wrk: the two are to differ by half a percent at most, and what the machine does beside
    changes more than that from one second to the next.

    Raises:
        PeerError: a request was not answered with 200.
    """
    where = urlsplit(address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    taken: dict[str, list[float]] = {measure: [] for measure in PATHS}
    try:
        for _ in range(_WARM_UP):
            for path in PATHS.values():
                _get(connection, path)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for measure, path in PATHS.items():
                taken[measure].append(_get(connection, path))
    except (OSError, http.client.HTTPException) as error:
        raise PeerError(f"a request failed: {type(error).__name__} {error}") from None
    finally:
        connection.close()
    for measure, values in taken.items():
        add(measure, values)


def _get(connection: http.client.HTTPConnection, path: str) -> float:
    began = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    if response.status != http.HTTPStatus.OK:
        raise PeerError(f"{path} was answered with {response.status}")
    return time.perf_counter() - began


def results(recording: Recording) -> list[Result]:
    """The one time by the other, on the same server."""

    def value(peer: str) -> dict[int, float]:
        return ratio(recording.medians(KEY, ALL, peer), recording.medians(KEY, ONE, peer))

    return [
        Result(
            row=KEY,
            what=f"Request with {QUERIES} queries of {SECONDS:g} s, one client: p50, divided by "
            "that of the same request with one query",
            limit=1.0,
            before="1.009",
            target=1.005,
            figures=figures(recording, KEY, ALL, value),
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            shortfall="The last of five queries is sent 2.2 ms later than one alone (with a bare "
            "executor 1.4 ms): so long Python works for four more, on whatever thread (measured "
            "without a server, on two cores of an AMD EPYC).",
        )
    ]


ROW = ServedRow(
    key=KEY,
    title=f"{QUERIES} x SLEEP({SECONDS:g}), one client",
    results=results,
    load=load,
    budget=Budget(),
)
