"""Measurements that the model itself has made, from a request of which all is known."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from commonpool.chain.measured import Measurements, Run, Sizes
from commonpool.plan import simulation
from commonpool.plan.fitting import Fit, fit
from commonpool.plan.model import Host, Request
from commonpool.tune.recording import Recording

CORES = 2
SIZES = Sizes(2, 8, 24, 32)
RATES = (4.0, 10.0, 16.0, 22.0)


def truth(seed: int = 1, *, contended: float = 0.06) -> tuple[Request, list[float]]:
    """A request, and how long it took when it was alone."""
    draws = np.random.default_rng(seed)
    alone = draws.gamma(40.0, 0.08 / 40, 60).tolist()
    return Request.of(0.012, contended, 8.0, CORES, alone), alone


def measured(
    seed: int = 1,
    *,
    contended: float = 0.06,
    rates: Sequence[float] = RATES,
    rounds: int = 2,
    seconds: float = 30.0,
) -> Measurements:
    """What `commonpool tune` would have measured of it."""
    request, alone = truth(seed, contended=contended)
    runs = [
        a_run(request, rps, number, seconds, seed=1000 * seed + 100 * number + int(rps))
        for number in range(rounds)
        for rps in rates
    ]
    return Measurements(
        "http://127.0.0.1/", "uwsgi.ini", CORES, alone, request.processor, request.tasks, runs
    )


def a_run(request: Request, rps: float, number: int, seconds: float, *, seed: int) -> Run:
    requests = int(rps * seconds)
    latencies = simulation.latencies(
        Host(CORES, SIZES).times(request),
        request.relative,
        rps,
        requests=requests,
        seed=seed,
        seconds=seconds,
    )
    used = requests * request.processor
    return Run(SIZES, number, rps, seconds, latencies.tolist(), {}, used, [10**8] * 2, 20)


def recorded(folder: Path, measurements: Measurements) -> Path:
    """The folder, with the measurements in it."""
    with Recording(
        folder, url=measurements.url, ini=measurements.ini, cores=measurements.cores
    ) as recording:
        recording.alone(
            measurements.unloaded,
            measurements.processor_seconds_per_request,
            measurements.tasks_per_request,
        )
        for run in measurements.runs:
            recording.run(run)
    return folder


@functools.cache
def a_fit() -> Fit:
    """The fit to `measured()`, for all tests that only look at it."""
    return fit(measured())
