"""Row 3: what a fan-out costs on a busy machine, where queries are short."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stack.compare.budget import CLIENTS, Budget
from stack.compare.load import closed
from stack.compare.peers import QUERIES, SEQUENTIAL
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, ratio, wrong_answers
from stack.compare.rows.row import ServedRow

KEY = "3"
SECONDS = 0.001

FEW = 8
BEFORE = {FEW: "0.86", CLIENTS: "0.87"}


def rate_of(clients: int) -> str:
    """The measure: right answers a second."""
    return f"requests/s, {clients} clients"


def failed_of(clients: int) -> str:
    """The measure: which share of the answers was wrong."""
    return f"failed, {clients} clients"


def load(address: str, seconds: float, add: Callable[[str, Iterable[float]], None]) -> None:
    """Ask as fast as answers come, with few clients and with many."""
    for clients in BEFORE:
        done = closed(f"{address}/queries?count={QUERIES}&seconds={SECONDS}", clients, seconds)
        add(rate_of(clients), [done.rate])
        add(failed_of(clients), [done.failures])


def results(recording: Recording) -> list[Result]:
    """Requests a second, and what they are of the sequential view's."""
    lines = []
    for clients, before in BEFORE.items():
        measure = rate_of(clients)
        sequential = recording.medians(KEY, measure, SEQUENTIAL)

        def value(
            peer: str, measure: str = measure, sequential: dict[int, float] = sequential
        ) -> dict[int, float]:
            return ratio(recording.medians(KEY, measure, peer), sequential)

        lines.append(
            Result(
                row=KEY,
                what=f"{QUERIES} queries of {SECONDS * 1000:g} ms, {clients} clients: requests/s, "
                "divided by those of the sequential view",
                limit=1.0,
                before=before,
                target=0.98,
                more=True,
                figures=figures(recording, KEY, measure, value),
                reference=SEQUENTIAL,
                failures=recording.reasons(KEY),
                notes=wrong_answers(recording, KEY, failed_of(clients)),
                shortfall="Nearly all requests run their queries one after another, as the "
                "sequential view does; but with 35,000 of Python's instructions instead of 30,000: "
                "2,000 for the middleware, the deadlines of connections and the checks of each "
                "statement, and 3,200 for the fan-out (counted on CPython 3.11).",
            )
        )
    return lines


ROW = ServedRow(
    key=KEY,
    title=f"{QUERIES} x {SECONDS * 1000:g} ms, {' and '.join(map(str, BEFORE))} clients",
    results=results,
    load=load,
    budget=Budget(),
)
