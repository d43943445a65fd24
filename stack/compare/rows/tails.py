"""Latencies at given rates: what users see who do not wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import quantiles

from stack.compare.budget import CLIENTS, Budget
from stack.compare.load import at_rate
from stack.compare.peers import QUERIES, SEQUENTIAL
from stack.compare.recording import Recording
from stack.compare.results import Figure, Result, figures, scaled
from stack.compare.rows.row import ServedRow

KEY = "tail"
SECONDS = 0.001

RATES = (50, 200, 400)
"""Requests a second: a machine at rest, one at work, and one that is busy."""

PERCENTILES = (50, 99)


def measure_of(percentile: int, rate: int) -> str:
    """The measure: seconds."""
    return f"p{percentile}, {rate} requests/s"


def load(address: str, seconds: float, add: Callable[[str, Iterable[float]], None]) -> None:
    """Ask at even times, at each of the rates."""
    for rate in RATES:
        url = f"{address}/queries?count={QUERIES}&seconds={SECONDS}"
        done = at_rate(url, rate, CLIENTS, seconds)
        cuts = quantiles(done.latencies, n=100, method="inclusive")
        for percentile in PERCENTILES:
            add(measure_of(percentile, rate), [cuts[percentile - 1]])


def latencies(recording: Recording, percentile: int, rate: int) -> dict[str, Figure]:
    """Milliseconds of each peer."""
    measure = measure_of(percentile, rate)

    def value(peer: str) -> dict[int, float]:
        return scaled(recording.medians(KEY, measure, peer), 1000)

    return figures(recording, KEY, measure, value)


def results(recording: Recording) -> list[Result]:
    """Milliseconds, beside those of the sequential view."""
    return [
        Result(
            row=KEY,
            what=f"{QUERIES} queries of {SECONDS * 1000:g} ms, {rate} requests/s: p{percentile}",
            unit="ms",
            figures=latencies(recording, percentile, rate),
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            digits=1,
        )
        for rate in RATES
        for percentile in PERCENTILES
    ]


ROW = ServedRow(
    key=KEY,
    title="latencies at given rates",
    results=results,
    load=load,
    budget=Budget(),
)
