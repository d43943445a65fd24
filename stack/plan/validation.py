"""Measures loads for a fit and others, which the fit does not see, and compares."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from commonpool.chain.measured import Measurements, Run, Sizes
from commonpool.plan.fitting import Fit, Prediction, fit
from commonpool.plan.model import Host
from commonpool.tune.goal import Goal
from commonpool.tune.measuring import Measuring

SIZES = Sizes(processes=2, threads=8, max_workers=24, connections=32)
"""Those of uwsgi.ini."""

FITTED = (0.2, 0.4, 0.6, 0.8)
UNSEEN = (0.3, 0.5, 0.7)
"""Loads, as shares of what the server can do."""

WITHIN = (0.15, 0.30)
"""Errors that p50 and p99 are to be within."""

_PATIENT = Goal(p99=10.0)  # nothing fails for being late
_PROBE_SECONDS = 5.0
_FIRST_RATE = 6.0
_STEP = 1.4
_TOO_LATE = 2.5  # times the unloaded latency, at the median: more than that only fills the queue


@dataclass(frozen=True)
class Compared:
    """One load that the fit has not seen.

    Attributes:
        rps: requests a second.
        requests: that were answered.
        failures: that were not.
        measured: p50 and p99, in seconds.
        predicted: the same, with intervals.
    """

    rps: float
    requests: int
    failures: int
    measured: tuple[float, float]
    predicted: Prediction

    def errors(self) -> tuple[float, float]:
        """Of the predicted p50 and p99, as shares of what was measured."""
        predicted = (self.predicted.p50.value, self.predicted.p99.value)
        one, other = (p / m - 1 for p, m in zip(predicted, self.measured, strict=True))
        return one, other

    def is_good(self) -> bool:
        """Whether both errors are as small as they are to be."""
        return all(abs(error) <= most for error, most in zip(self.errors(), WITHIN, strict=True))


def most(measuring: Measuring, say: Callable[[str], None]) -> float:
    """Requests a second that the server can do, about: where the median has become long."""
    rate = _FIRST_RATE
    with measuring.on(SIZES) as visit:
        alone = visit.load(_PATIENT, _FIRST_RATE / 2, PROBE, _PROBE_SECONDS)
        limit = _TOO_LATE * float(np.median(alone.latencies))
        while True:
            run = visit.load(_PATIENT, rate, PROBE, _PROBE_SECONDS)
            if not run.latencies or float(np.median(run.latencies)) > limit:
                break
            rate *= _STEP
    # What it was asked for it has just done, but for the last time.
    served = max(len(run.latencies) / _took(run), rate / _STEP)
    say(f"It can do about {served:.1f} requests/s.")
    return served


def measure(
    measuring: Measuring, rates: Sequence[float], *, rounds: int, seconds: float, seed: int
) -> None:
    """Measure loads in several rounds, each in an order of its own."""
    draws = random.Random(seed)  # noqa: S311 - an order, not a secret
    for number in range(rounds):
        with measuring.on(SIZES) as visit:
            for index in draws.sample(range(len(rates)), len(rates)):
                # Each load has random times of its own.
                visit.load(_PATIENT, rates[index], FIRST + number * len(rates) + index, seconds)


PROBE = 0
FIRST = 1
"""Numbers of the runs that count; below are those that looked for the rates."""


def compare(measurements: Measurements, unseen: Sequence[float]) -> tuple[Fit, Sequence[Compared]]:
    """Fit to all loads but the unseen ones, and predict these.

    Raises:
        PlanError: too little was measured.
    """
    counted = [run for run in measurements.runs if run.round >= FIRST]
    known = [run for run in counted if run.rps not in unseen]
    fitted = fit(replace(measurements, runs=known))
    return fitted, [
        _compared(fitted, rps, [run for run in counted if run.rps == rps]) for rps in unseen
    ]


def _compared(fitted: Fit, rps: float, runs: Sequence[Run]) -> Compared:
    latencies = np.concatenate([run.latencies for run in runs])
    p50, p99 = np.quantile(latencies, (0.5, 0.99))
    host = Host(fitted.measurements.cores, runs[0].sizes)
    return Compared(
        rps,
        len(latencies),
        sum(sum(run.failures.values()) for run in runs),
        (float(p50), float(p99)),
        fitted.predict(host, rps, elsewhere=False, seconds=runs[0].seconds),
    )


def _took(run: Run) -> float:
    """Seconds until the last answer of a load that asked for as long as it could."""
    return run.seconds + max(run.latencies, default=0.0)
