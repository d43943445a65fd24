"""How sure a measurement is: intervals by resampling, over rounds and over requests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_TIMES = 500  # resamples
_BLOCKS = 20  # a round's latencies are resampled in that many runs of neighbours, which are alike
_SEED = 1  # the same figures from the same measurements


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that is not below ``share`` of all of them.

    Args:
        values: at least one.
        share: from 0 to 1.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("there are no values")
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked) - 1e-9), 1) - 1]


def p99_interval(rounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % of the p99 of all rounds' latencies, had other rounds been measured.

    Rounds are drawn with replacement, and within each of them runs of neighbouring latencies:
    requests that were under way together are late together, so single ones would look surer than
    they are.

    Args:
        rounds: the latencies of each, in the order in which the requests were due.

    Returns:
        Both ends, in seconds; infinite where there is nothing.
    """
    return _interval(_p99s(rounds, np.random.default_rng(_SEED)))


def p99_difference(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """95 % of the p99 of one setting less that of another.

    Args:
        one: the rounds' latencies, as for `p99_interval`.
        other: the same.
    """
    draws = np.random.default_rng(_SEED)
    return _interval(_p99s(one, draws) - _p99s(other, draws))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean of what each round has found, had other rounds been measured."""
    return _interval(_means(values, np.random.default_rng(_SEED)))


def mean_ratio(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """95 % of the ratio of two means: of one setting's rounds to another's."""
    draws = np.random.default_rng(_SEED)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval(_means(one, draws) / _means(other, draws))


_Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _p99s(rounds: Sequence[Sequence[float]], draws: np.random.Generator) -> _Numbers:
    arrays = [np.asarray(latencies, dtype=float) for latencies in rounds if len(latencies)]
    if not arrays:
        return np.full(_TIMES, math.inf)
    got = np.empty(_TIMES)
    for time in range(_TIMES):
        drawn = draws.integers(len(arrays), size=len(arrays))
        sample = np.concatenate([_resampled(arrays[number], draws) for number in drawn])
        rank = max(math.ceil(0.99 * len(sample) - 1e-9), 1) - 1
        got[time] = np.partition(sample, rank)[rank]
    return got


def _resampled(latencies: _Numbers, draws: np.random.Generator) -> _Numbers:
    length = max(len(latencies) // _BLOCKS, 1)
    starts = draws.integers(len(latencies), size=math.ceil(len(latencies) / length))
    picked = (starts[:, None] + np.arange(length)) % len(latencies)
    sample: _Numbers = latencies[picked.ravel()[: len(latencies)]]
    return sample


def _means(values: Sequence[float], draws: np.random.Generator) -> _Numbers:
    array = np.asarray(values, dtype=float)
    if not len(array):
        return np.full(_TIMES, math.nan)
    means: _Numbers = array[draws.integers(len(array), size=(_TIMES, len(array)))].mean(axis=1)
    return means


def _interval(values: _Numbers) -> tuple[float, float]:
    if np.isnan(values).any():
        return -math.inf, math.inf
    low, high = np.quantile(values, (0.025, 0.975), method="nearest")
    return float(low), float(high)
