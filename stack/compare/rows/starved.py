"""Row 6: too few connections for all, and requests that hold one while they wait for more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import quantiles

from stack.compare.budget import Budget
from stack.compare.load import at_rate, closed
from stack.compare.peers import PEERS, QUERIES, SEQUENTIAL
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, ratio, scaled
from stack.compare.rows.row import ServedRow

KEY = "6"
SECONDS = 0.010
THREADS = 32
CONNECTIONS = 5

PATIENCE = 2.0
"""Seconds that a session waits for a connection. With SQLAlchemy's 30, a run of some seconds would
end before the first error."""

MOST = CONNECTIONS / ((QUERIES + 1) * SECONDS)
"""Requests a second with every connection busy all the time."""

RATE = round(0.6 * MOST)
"""Requests a second for the latencies: what is asked for on a server with something to spare."""

FAILED, P99 = "failed", "p99"


def load(address: str, seconds: float, add: Callable[[str, Iterable[float]], None]) -> None:
    """Ask at even times, for the latencies; then with a client for each request thread."""
    url = f"{address}/queries?count={QUERIES}&seconds={SECONDS}&user=1"
    # In this order: what is stuck after many have asked at once is none of the latencies' business.
    evenly = at_rate(url, RATE, THREADS, seconds)
    add(P99, [quantiles(evenly.latencies, n=100, method="inclusive")[98]])
    at_once = closed(url, THREADS, max(seconds, 2 * PATIENCE))
    add(FAILED, [at_once.failures])


def results(recording: Recording) -> list[Result]:
    """Errors in a hundred answers, and the p99 beside that of the sequential view."""

    def p99(peer: str) -> dict[int, float]:
        return ratio(recording.medians(KEY, P99, peer), recording.medians(KEY, P99, SEQUENTIAL))

    where = f"{CONNECTIONS} connections, {THREADS} request threads, {QUERIES} queries"
    return [
        Result(
            row=KEY,
            what=f"{where}: errors in 100 answers (a session waits {PATIENCE:g} s for one)",
            unit="%",
            limit=0.0,
            before="errors after 30 s",
            target=0.0,
            figures=figures(
                recording,
                KEY,
                FAILED,
                lambda peer: scaled(recording.medians(KEY, FAILED, peer), 100),
            ),
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            digits=1,
        ),
        Result(
            row=KEY,
            what=f"{where}, {RATE} requests/s: p99, divided by that of the sequential view",
            target=1.0,
            figures=figures(recording, KEY, P99, p99),
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
        ),
    ]


ROW = ServedRow(
    key=KEY,
    title=f"{CONNECTIONS} connections for {THREADS} request threads",
    results=results,
    load=load,
    budget=Budget(processes=1, threads=THREADS, connections=CONNECTIONS, patience=PATIENCE),
    not_for={
        peer.name: "has no pool of connections that could be so small"
        for peer in PEERS.values()
        if not peer.pooled
    },
)
