"""Measuring by turns: every peer once in each round, so that a noisy moment hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Samples:
    """What was measured of one peer, in seconds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the ninth decile."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        deciles = statistics.quantiles(self.seconds, n=10, method="inclusive")
        return deciles[0], deciles[-1]


def by_turns(
    peers: Mapping[str, Callable[[], object]], rounds: Iterable[object], *, calls: int = 1
) -> dict[str, Samples]:
    """Call every peer in each round; how long a call took.

    Args:
        peers: what to call, by name; called once before the measurement, to warm up.
        rounds: one item a round.
        calls: how many calls make one sample, of which the mean is taken.
    """
    samples = {name: Samples() for name in peers}
    for call in peers.values():
        call()
    for _ in rounds:
        for name, call in peers.items():
            began = time.perf_counter()
            for _ in range(calls):
                call()
            samples[name].seconds.append((time.perf_counter() - began) / calls)
    return samples
