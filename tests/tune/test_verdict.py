"""What is said of measurements of which the truth is known."""

from __future__ import annotations

import io
import random

from rich.console import Console

from commonpool.chain.figures import milliseconds
from commonpool.chain.measured import Run, Sizes
from commonpool.tune import report, table
from commonpool.tune.goal import Goal, limit_from
from commonpool.tune.search import FIRST_ROUND, Found
from commonpool.tune.verdict import Verdict, judge

SMALL, MIDDLE, LARGE = Sizes(1, 4, 8), Sizes(1, 8, 8), Sizes(2, 8, 8)
GOAL = Goal(0.3, 100)


def found(sizes: Sizes, worst: float, *, failures: int = 0, seed: int = 0) -> Found:
    """Four rounds, whose latencies are spread evenly from 0 to the worst."""
    draws = random.Random(f"{sizes}{seed}")
    one = Found(sizes)
    for number in range(4):
        latencies = [draws.uniform(0, worst) for _ in range(400)]
        failed = {"500 INTERNAL SERVER ERROR": failures} if failures else {}
        one.runs.append(Run(sizes, FIRST_ROUND + number, 100, 4, latencies, failed, 1.0, [2**26]))
    return one


def rated(sizes: Sizes, *rates: float) -> Found:
    one = Found(sizes, rates=list(rates), served=rates[-1])
    for number, rate in enumerate(rates):
        one.runs.append(Run(sizes, FIRST_ROUND + number, rate, 4, [0.1] * 50, {}, 1.0, [2**26]))
    return one


def recommended(verdict: Verdict) -> Sizes:
    assert verdict.recommended is not None
    return verdict.recommended.sizes


def test_the_smallest_that_meets_the_goal_is_recommended() -> None:
    verdict = judge([found(SMALL, 0.5), found(MIDDLE, 0.25), found(LARGE, 0.1)], GOAL, SMALL)
    assert recommended(verdict) == MIDDLE
    assert verdict.meets
    assert verdict.sure
    assert verdict.alike == ()
    assert "1 x 8, 8 workers is the smallest that serves 100 requests/s" in verdict.sentences[0]
    assert "At present (1 x 4, 8 workers) the p99 is 49" in verdict.sentences[-1]


def test_a_goal_that_is_met_by_a_hair_is_called_close() -> None:
    verdict = judge([found(SMALL, 0.3022)], GOAL, LARGE)
    assert verdict.meets
    assert not verdict.sure
    assert "It is close: the interval reaches beyond the limit." in verdict.sentences


def test_settings_that_cannot_be_told_apart_are_called_so() -> None:
    verdict = judge([found(SMALL, 0.2), found(MIDDLE, 0.2, seed=1)], GOAL, LARGE)
    assert recommended(verdict) == SMALL
    assert verdict.alike == (MIDDLE,)
    assert "Cannot be told apart from it: 1 x 8, 8 workers." in verdict.sentences


def test_one_failure_is_a_goal_that_is_not_met() -> None:
    verdict = judge([found(SMALL, 0.1, failures=1), found(LARGE, 0.1)], GOAL, SMALL)
    assert recommended(verdict) == LARGE
    assert "0.2% of the requests fail (500 INTERNAL SERVER ERROR)" in verdict.sentences[-1]


def test_where_nothing_meets_the_goal_the_best_is_named_and_not_praised() -> None:
    verdict = judge([found(SMALL, 2), found(MIDDLE, 0.5), found(LARGE, 0.9)], GOAL, SMALL)
    assert recommended(verdict) == MIDDLE
    assert not verdict.meets
    assert "No setting that was tried serves 100 requests/s" in verdict.sentences[0]


def test_without_a_rate_the_smallest_of_those_that_serve_most_is_recommended() -> None:
    goal = Goal(0.3)
    rounds = [rated(SMALL, 10, 11, 10), rated(MIDDLE, 50, 55, 49), rated(LARGE, 51, 52, 53)]
    verdict = judge(rounds, goal, SMALL)
    assert recommended(verdict) == MIDDLE
    assert verdict.alike == (LARGE,)
    assert verdict.best is not None
    assert verdict.best.sizes == LARGE
    assert "5.0 times as many" in verdict.sentences[-1]


def test_what_nobody_could_measure_is_no_recommendation() -> None:
    verdict = judge([Found(SMALL, reason="does not start")], GOAL, SMALL)
    assert verdict.recommended is None
    assert not verdict.meets
    assert verdict.sentences


def test_a_limit_follows_from_what_one_request_takes() -> None:
    assert limit_from(0.1) == 0.3
    assert limit_from(0.001) == 0.05


def test_times_are_written_as_people_read_them() -> None:
    assert milliseconds(0.0812) == "81.2 ms"
    assert milliseconds(1.25) == "1,250 ms"
    assert milliseconds(float("inf")) == "none"


def test_the_table_has_its_figures_on_a_narrow_screen_and_no_interval_where_there_is_none() -> None:
    one = Found(SMALL)
    one.runs.append(Run(SMALL, FIRST_ROUND, 100, 4, [], {"no answer in 2 s": 7}, 1.0, [2**26]))
    verdict = judge([found(MIDDLE, 0.25), one], GOAL, SMALL)
    said = io.StringIO()
    table.show(Console(file=said, width=40), verdict)
    lines = said.getvalue().splitlines()
    assert {"work", "p50", "p99", "fail", "MiB"} <= set(lines[1].split())
    assert "inf" not in said.getvalue()
    assert len(lines[-1]) <= 40  # sentences still fold


def test_what_requests_ended_in_is_said_once_for_all_settings_alike() -> None:
    lost = "500 Internal Server Error (OSError: Too many connections)"
    assert report.failed({LARGE: lost, MIDDLE: "502 Bad Gateway", SMALL: lost}) == [
        f"1 x 4, 8 workers and 1 more: requests failed: {lost}",
        "1 x 8, 8 workers: requests failed: 502 Bad Gateway",
    ]
