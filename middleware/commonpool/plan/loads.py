"""The loads among the measurements to which a model can be fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from commonpool.chain.measured import Measurements, Run, Sizes
from commonpool.plan.errors import PlanError
from commonpool.plan.stations import Numbers

LEAST_REQUESTS = 30
"""Answers that a load needs: below that its p99 is one request's time."""

LEAST_LOADS = 3
"""Loads that a fit needs: it has two parameters, and one more shows whether they are any good."""

_MOST_LOADS = 12  # that are fitted, those with most requests: each costs a second
_LEAST_UNLOADED = 10
_MOST = 4096  # of anything that is counted; more is no measurement
_MOST_SECONDS = 1e6
_MOST_FAILURES = 0.01  # of the requests; what fails late has no latency, and the p99 then misses it
_BLOCKS = 20  # in which latencies are resampled: neighbours were under way together, and are alike


@dataclass(frozen=True)
class Load:
    """All runs of one rate on one setting.

    Attributes:
        sizes: of the server.
        rps: requests that were due in a second.
        seconds: of one run, the median.
        rounds: the latencies of each run, in seconds.
    """

    sizes: Sizes
    rps: float
    seconds: float
    rounds: Sequence[Numbers]

    @property
    def requests(self) -> int:
        """That were answered."""
        return sum(map(len, self.rounds))

    def quantiles(self) -> Numbers:
        """The p50 and the p99, in seconds."""
        found: Numbers = np.quantile(np.concatenate(self.rounds), (0.5, 0.99))
        return found

    def resampled(self, draws: np.random.Generator) -> Numbers:
        """The p50 and the p99 of other rounds: drawn with replacement, and blocks within each."""
        picked = draws.integers(len(self.rounds), size=len(self.rounds))
        latencies = np.concatenate([_blocks(self.rounds[number], draws) for number in picked])
        found: Numbers = np.quantile(latencies, (0.5, 0.99))
        return found


def _blocks(values: Numbers, draws: np.random.Generator) -> Numbers:
    length = max(len(values) // _BLOCKS, 1)
    starts = draws.integers(len(values), size=math.ceil(len(values) / length))
    blocks: Numbers = values[
        ((starts[:, None] + np.arange(length)) % len(values)).ravel()[: len(values)]
    ]
    return blocks


def usable(measurements: Measurements) -> list[Load]:
    """The loads that were answered, and long enough, the smallest rate first.

    Raises:
        PlanError: too little was measured; it says what to run.
    """
    if len(measurements.unloaded) < _LEAST_UNLOADED:
        raise PlanError(
            f"{len(measurements.unloaded)} requests were measured alone, {_LEAST_UNLOADED} are "
            f"needed: run {command(measurements)}"
        )
    costs = (measurements.processor_seconds_per_request, measurements.tasks_per_request)
    if not (
        1 <= measurements.cores <= _MOST
        and all(map(_is_time, measurements.unloaded))
        and all(_is_number(cost) and 0 <= cost <= _MOST for cost in costs)
    ):
        raise PlanError(f"the measurements are broken: run {command(measurements)} again")
    groups: dict[tuple[Sizes, float], list[Run]] = {}
    for run in measurements.runs:
        if _is_usable(run):
            groups.setdefault((run.sizes, run.rps), []).append(run)
    loads = [
        Load(
            sizes,
            rps,
            float(np.median([run.seconds for run in runs])),
            [np.asarray(run.latencies, dtype=np.float64) for run in runs],
        )
        for (sizes, rps), runs in groups.items()
    ]
    loads = [load for load in loads if load.requests >= LEAST_REQUESTS]
    if len(loads) < LEAST_LOADS or len({load.rps for load in loads}) < 2:  # noqa: PLR2004
        raise PlanError(
            f"{len(loads)} loads can be used, {LEAST_LOADS} at two rates are needed, each answered "
            f"well at least {LEAST_REQUESTS} times: run {command(measurements)}"
        )
    loads.sort(key=lambda load: load.requests, reverse=True)
    return sorted(loads[:_MOST_LOADS], key=lambda load: (load.rps, load.sizes.processes))


def processor_seconds(measurements: Measurements) -> float:
    """Seconds of a core for one request in its worker process: under load, else of one alone."""
    runs = [run for run in measurements.runs if _is_usable(run) and run.processor_seconds > 0]
    used = sum(run.processor_seconds for run in runs)
    answered = sum(len(run.latencies) + sum(run.failures.values()) for run in runs)
    return used / answered if answered else max(measurements.processor_seconds_per_request, 0.0)


def command(measurements: Measurements) -> str:
    """What is to be run for (more) measurements."""
    return f"commonpool tune {measurements.url} --ini {measurements.ini}"


def _is_usable(run: Run) -> bool:
    sizes = run.sizes
    numbers = (sizes.processes, sizes.threads, sizes.max_workers, sizes.connections or 0)
    return (
        all(isinstance(number, int) and 0 <= number <= _MOST for number in numbers)
        and 1 <= sizes.processes * sizes.threads <= _MOST
        and _is_time(run.rps)
        and _is_time(run.seconds)
        and _is_number(run.processor_seconds)
        and len(run.latencies) > 0
        and all(map(_is_time, run.latencies))
        and all(isinstance(count, int) for count in run.failures.values())
        and sum(run.failures.values()) <= _MOST_FAILURES * len(run.latencies)
    )


def _is_time(value: object) -> bool:
    return _is_number(value) and 0 < value < _MOST_SECONDS  # type: ignore[operator]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
