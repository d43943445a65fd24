"""Loads drawn on a host: how long requests take, the wait for a thread included.

The host is one station (`stations`) whose requests share it equally: limited processor sharing, in
which those beyond the limit, the request threads, wait in the order of their arrival (B. Avi-Itzhak
and S. Halfin, "Expected response times in a non-symmetric time sharing queue with a limited number
of service positions", ITC 12, 1988). Ciw simulates it; how fast all go on depends on how many there
are. Arrivals are a Poisson process: many people who know nothing of each other.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

import ciw
import numpy as np

from commonpool.plan.stations import Numbers

_WARM_UP = 0.1  # of the requests, which do not count: the host was empty before them


class Station(ciw.PSNode):  # type: ignore[misc] # ciw has no types
    """A station that is shared, and whose speed depends on how many are there.

    All who share it are given the same, so one clock for them tells when each has had enough, and
    an event costs the same however many there are; Ciw's own way counts for each of them.
    """

    speeds: Sequence[float]
    """Of each request while 0, 1, 2, ... are there; 1 is that of one that is alone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._given = 0.0  # seconds, to each of those who were there all the time
        self._since = 0.0
        self._ends: list[tuple[float, int, Any]] = []  # what each leaves with

    def get_service_time(self, ind: Any) -> float:
        """Let one begin."""
        self._give()
        seconds: float = super().get_service_time(ind)
        heapq.heappush(self._ends, (self._given + seconds, ind.id_number, ind))
        return seconds

    def release(self, *arguments: Any, **more: Any) -> None:
        """Let the one go who has had enough."""
        self._give()
        heapq.heappop(self._ends)
        super().release(*arguments, **more)

    def update_all_service_end_dates(self) -> None:
        """Go on with how many there are now."""
        self._give()
        self.last_occupancy = min(self.number_of_individuals, self.ps_capacity)

    def update_next_event_date(self) -> None:
        """Say when the next one will have had enough."""
        if not self._ends:
            self.next_event_date = math.inf
            return
        self._give()
        enough, _, individual = self._ends[0]
        left = max(enough - self._given, 0.0) / self.speeds[self.last_occupancy]
        individual.service_end_date = self.next_event_date = self.now + left
        self.next_individual, self.next_event_type = [individual], "end_service"

    def _give(self) -> None:
        self._given += (self.now - self._since) * self.speeds[self.last_occupancy]
        self._since = self.now


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
