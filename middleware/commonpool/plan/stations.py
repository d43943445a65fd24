"""What requests pass through, and how long they take when so many of them are under way.

A closed queueing network is solved exactly by the convolution algorithm (J. P. Buzen,
"Computational algorithms for closed queueing networks with exponential servers", CACM 16(9), 1973),
in its form for stations whose rate depends on how many are there (M. Reiser and H. Kobayashi,
"Queuing networks with multiple closed chains", IBM J. Res. Dev. 19(3), 1975). What comes out, the
mean time of a request while n are under way, makes one station of all of them: the flow-equivalent
server (K. M. Chandy, U. Herzog and L. Woo, "Parametric analysis of queuing networks", IBM J. Res.
Dev. 19(1), 1975). `simulation` puts that behind an open queue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def response_times(stations: Sequence[Numbers], most: int) -> Numbers:
    """Mean seconds of a request while 1, 2, ... `most` are under way.

    Args:
        stations: of each, how many requests a second it serves while 1, 2, ... `most` are there;
            infinite where it takes no time.
        most: requests under way.
    """
    # Products of demands, as logarithms: with hundreds of requests they leave every float.
    weights: Numbers = np.full(most + 1, -np.inf)
    weights[0] = 0.0
    for rates in stations:
        if np.isfinite(rates).all():
            own = np.concatenate([[0.0], -np.cumsum(np.log(rates[:most]))])
            weights = _convolved(weights, own)
    throughput = np.exp(weights[:-1] - weights[1:])
    return np.asarray(np.arange(1, most + 1) / throughput, dtype=np.float64)


def _convolved(one: Numbers, other: Numbers) -> Numbers:
    """The logarithms of the convolution of what both are the logarithms of."""
    sums: Numbers = np.empty(len(one))
    for total in range(len(one)):
        terms = one[: total + 1] + other[total::-1]
        largest = terms.max()
        sums[total] = largest + np.log(np.exp(terms - largest).sum())
    return sums


def busy(processes: int, requests: Numbers) -> Numbers:
    """Processes that have something to do, in the mean, when so many requests are among them.

    Each of them takes the next request with the same chance (uWSGI's processes all wait at one
    socket), so it is the occupancy of urns by balls: P (1 - (1 - 1/P)^n).
    """
    return np.asarray(processes * (1 - (1 - 1 / processes) ** requests), dtype=np.float64)
