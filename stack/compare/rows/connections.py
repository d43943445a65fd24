"""Row 5: whether a server gets out of its connections what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stack.compare.budget import CLIENTS, CONNECTIONS, Budget
from stack.compare.load import closed
from stack.compare.peers import QUERIES, SEQUENTIAL
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, scaled, wrong_answers
from stack.compare.rows.row import ServedRow

KEY = "5"
SECONDS = 0.1

MOST = CONNECTIONS / (QUERIES * SECONDS)
"""Requests a second with every connection busy all the time."""

RATE, FAILED = "requests/s", "failed"


def load(address: str, seconds: float, add: Callable[[str, Iterable[float]], None]) -> None:
    """Ask with more clients than the connections can serve at once."""
    done = closed(f"{address}/queries?count={QUERIES}&seconds={SECONDS}", CLIENTS, seconds)
    add(RATE, [done.rate])
    add(FAILED, [done.failures])


def results(recording: Recording) -> list[Result]:
    """Requests a second, and what they are of the most there can be."""
    return [
        Result(
            row=KEY,
            what=f"{CONNECTIONS} connections, {QUERIES} queries of {SECONDS * 1000:g} ms, "
            f"{CLIENTS} clients: requests/s, divided by {MOST:g} (connections / time)",
            limit=1.0,
            before="0.98",
            target=0.99,
            more=True,
            figures=figures(
                recording,
                KEY,
                RATE,
                lambda peer: scaled(recording.medians(KEY, RATE, peer), 1 / MOST),
            ),
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            notes=wrong_answers(recording, KEY, FAILED),
            shortfall="A request takes 63,000 of Python's instructions; one with a bare executor, "
            "44,000 (counted on CPython 3.11). Python's lock is wanted that much longer, by who "
            "comes back from the database with a connection (inferred).",
        )
    ]


ROW = ServedRow(
    key=KEY,
    title=f"{CONNECTIONS} connections, {CLIENTS} clients",
    results=results,
    load=load,
    budget=Budget(),
)
