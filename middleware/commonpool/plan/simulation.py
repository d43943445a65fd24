"""Loads drawn on a host: how long requests take, the wait for a thread included.

The host is one station (`stations`) whose requests share it equally: limited processor sharing, in
which those beyond the limit, the request threads, wait in the order of their arrival (B. Avi-Itzhak
and S. Halfin, "Expected response times in a non-symmetric time sharing queue with a limited number
of service positions", ITC 12, 1988). Ciw simulates it; how fast all go on depends on how many there
are. Arrivals are a Poisson process: many people who know nothing of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ciw
import numpy as np

from commonpool.plan.stations import Numbers

_WARM_UP = 0.1  # of the requests, which do not count: the host was empty before them


class Station(ciw.PSNode):  # type: ignore[misc] # ciw has no types
    """A station that is shared, and whose speed depends on how many are there."""

    speeds: Sequence[float]
    """Of each request while 0, 1, 2, ... are there; 1 is that of one that is alone."""

    def update_all_service_end_dates(self) -> None:
        """Take from all what they were given since, and say when they will have ended."""
        now = self.simulation.current_time
        there = min(self.number_of_individuals, self.ps_capacity)
        before, speed = self.speeds[self.last_occupancy], self.speeds[there]
        for individual in self.all_individuals:
            if individual.with_server:
                individual.time_left -= (now - individual.date_last_update) * before
                individual.service_end_date = now + individual.time_left / speed
                individual.date_last_update = now
        self.last_occupancy = there


def latencies(
    times: Numbers,
    relative: Sequence[float],
    rps: float,
    *,
    requests: int,
    seed: int,
    seconds: float | None = None,
) -> Numbers:
    """Seconds of requests, in the order of their arrival.

    Args:
        times: of the host, see `Host.times`; as many as it has threads.
        relative: how much longer or shorter single requests are; drawn with replacement.
        rps: requests a second.
        requests: how many, at least.
        seed: the same latencies for the same seed.
        seconds: of one load, at whose beginning nothing is under way: as many loads are drawn, one
            after the other, as the requests make. By default one load, which has gone on for long.
    """
    draws = np.random.default_rng(seed)
    gaps = draws.exponential(1 / rps, requests)
    if seconds is not None:
        # What is left of one load has ended before the next one begins.
        pause = 2 * seconds * max(rps * times[-1] / len(times), 1.0) + 100 * times[-1]
        ends = np.floor(np.cumsum(gaps) / seconds)
        gaps[1:] += np.diff(ends) * pause
    sizes = draws.choice(np.asarray(relative, dtype=np.float64), requests) * times[0]
    taken = _simulated(gaps, sizes, times, seed)
    return taken if seconds is not None else taken[math.floor(requests * _WARM_UP) :]


def quantiles(taken: Numbers) -> tuple[float, float]:
    """The p50 and the p99, in seconds."""
    low, high = np.quantile(taken, (0.5, 0.99))
    return float(low), float(high)


def _simulated(gaps: Numbers, sizes: Numbers, times: Numbers, seed: int) -> Numbers:
    ciw.seed(seed)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps.tolist(), math.inf])],
        service_distributions=[ciw.dists.Sequential(sizes.tolist())],
        number_of_servers=[len(times)],
        ps_thresholds=[1],
    )
    speeds = (1.0, *(times[0] / times).tolist())
    node: type[Any] = type("Host", (Station,), {"speeds": speeds})
    simulation = ciw.Simulation(network, node_class=node)
    simulation.simulate_until_max_customers(len(gaps))
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    return np.array([record.exit_date - record.arrival_date for record in records])
