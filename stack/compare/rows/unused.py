"""Row 7: what the middleware adds to a request that does not use the pool."""

from __future__ import annotations

from stack.bench import footprint
from stack.compare.peers import COMMONPOOL
from stack.compare.recording import Recording
from stack.compare.results import Figure, Result
from stack.compare.rows.row import Add, LocalRow

KEY = "7"
MEASURE = "seconds"
WITHOUT = "without"

_TURNS = 10


def measure(seconds: float, url: str, add: Add) -> None:
    """As `stack.bench` does it."""
    del seconds, url
    samples = footprint.measure(range(_TURNS))
    add(MEASURE, WITHOUT, samples[footprint.WITHOUT].seconds)
    add(MEASURE, COMMONPOOL, samples[footprint.WITH].seconds)


def results(recording: Recording) -> list[Result]:
    """The difference, in microseconds."""
    alone = recording.medians(KEY, MEASURE, WITHOUT)
    behind = recording.medians(KEY, MEASURE, COMMONPOOL)
    added = Figure.of(
        [(behind[number] - alone[number]) * 1e6 for number in behind if number in alone]
    )
    return [
        Result(
            row=KEY,
            what="Request that does not use the pool: added by the middleware",
            unit="us",
            limit=0.0,
            target=3,
            figures={COMMONPOOL: added} if added else {},
            failures=recording.reasons(KEY),
            digits=2,
            shortfall="It is 400 of Python's instructions: an executor, the response's start held "
            "back, and the request's context entered for each step of the response. The last, four "
            "times for this one, takes a third of it.",
        )
    ]


ROW = LocalRow(key=KEY, title="an unused middleware", results=results, measure=measure)
