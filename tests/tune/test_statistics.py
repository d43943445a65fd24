"""The statistics on samples of which the truth is known."""

from __future__ import annotations

import math
import random

import pytest

from commonpool.tune.statistics import (
    mean_interval,
    mean_ratio,
    p99_difference,
    p99_interval,
    percentile,
)


def exponential(mean: float, count: int, seed: int) -> list[float]:
    draws = random.Random(seed)
    return [draws.expovariate(1 / mean) for _ in range(count)]


def test_a_percentile_is_the_smallest_value_that_is_not_below_the_share() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert percentile(hundred, 0.99) == 99
    assert percentile(hundred, 0.5) == 50
    assert percentile(hundred, 1) == 100
    assert percentile(hundred, 0) == 1
    assert percentile([3.0], 0.99) == 3
    assert percentile([float(number) for number in range(1, 31)], 0.99) == 30
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_interval_of_a_p99_mostly_holds_the_true_one() -> None:
    truth = -math.log(0.01)  # of an exponential distribution with the mean 1
    held = 0
    for seed in range(16):
        rounds = [exponential(1, 500, seed * 10 + number) for number in range(4)]
        low, high = p99_interval(rounds)
        held += low <= truth <= high
    assert held >= 11  # of 16; 95 % would be 15, and four rounds are few


def test_rounds_that_differ_make_the_interval_wide() -> None:
    quiet = [exponential(1, 500, number) for number in range(4)]
    noisy = [exponential(1 + number, 500, number) for number in range(4)]
    assert width(p99_interval(noisy)) > 3 * width(p99_interval(quiet))


def test_what_is_alike_cannot_be_told_apart_and_what_is_not_can() -> None:
    one = [exponential(1, 500, number) for number in range(4)]
    other = [exponential(1, 500, 50 + number) for number in range(4)]
    slow = [exponential(2, 500, 90 + number) for number in range(4)]
    low, high = p99_difference(one, other)
    assert low < 0 < high
    low, high = p99_difference(slow, one)
    assert 0 < low < high


def test_the_same_measurements_give_the_same_figures() -> None:
    rounds = [exponential(1, 100, number) for number in range(3)]
    assert p99_interval(rounds) == p99_interval(rounds)


def test_intervals_of_means_and_their_ratio() -> None:
    assert mean_interval([5.0, 5.0, 5.0]) == (5.0, 5.0)
    low, high = mean_interval([4.0, 5.0, 6.0])
    assert 4 <= low < 5 < high <= 6
    low, high = mean_ratio([20.0, 21.0, 19.0], [10.0, 10.5, 9.5])
    assert 1.7 < low < 2 < high < 2.4


def test_nothing_measured_is_no_interval() -> None:
    assert p99_interval([]) == (math.inf, math.inf)
    assert p99_interval([[], []]) == (math.inf, math.inf)
    assert mean_interval([]) == (-math.inf, math.inf)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]
