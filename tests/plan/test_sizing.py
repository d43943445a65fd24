"""What serves a load: sizes, hosts and connections, as they are told."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

from commonpool.chain.figures import milliseconds
from commonpool.plan.report import as_json, as_text
from commonpool.plan.sizing import Answer, Goal, answer
from tests.plan.helpers import CORES, a_fit


@functools.cache
def answered(
    rps: float,
    p99: float,
    hosts: int | None = None,
    cores: int = CORES,
    max_connections: int | None = None,
) -> Answer:
    return answer(a_fit(), Goal(rps, p99, hosts, cores, max_connections))


def figures(*goal: Any, **more: Any) -> dict[str, Any]:
    return as_json(answered(*goal, **more), a_fit())


def text(*goal: Any, **more: Any) -> str:
    return as_text(answered(*goal, **more), a_fit())


def words(told: str) -> str:
    return re.sub(r"\s+", " ", told)


@pytest.mark.parametrize("hosts", [2, 16, None])
def test_it_is_plain_text_of_80_columns(hosts: int | None) -> None:
    told = text(1000, 0.3, hosts)
    assert max(map(len, told.splitlines())) <= 80
    assert re.fullmatch(r"[\x20-\x7e\n]+", told)
    assert not re.search(r" $", told, re.MULTILINE)


def test_it_tells_sizes_times_limits_and_what_it_does_not_know() -> None:
    told = words(text(1000, 0.3, 16))
    for part in (
        "COMMONPOOL_MAX_WORKERS=",
        "90 % from",
        "limits first",
        "It would have to serve 8,000 tasks/s",
        "nginx",
        "network",
    ):
        assert part in told


def test_overload_is_said_with_the_hosts_that_would_do() -> None:
    told = words(text(1000, 0.3, 2))
    found = re.search(
        r"OVERLOAD: that is (\d+)% of what 2 hosts can serve.*?(\d+) hosts would do", told
    )
    assert found, told
    assert int(found[1]) > 100
    assert figures(1000, 0.3, 2)["hosts_needed"] == int(found[2])
    assert figures(1000, 0.3, int(found[2]))["met"]


def test_without_hosts_it_says_how_many_it_takes() -> None:
    told = figures(1000, 0.3)
    assert told["met"]
    assert told["hosts"] == told["hosts_needed"]
    # 12 ms of two cores each: no fewer could.
    assert told["hosts"] >= 1000 * 0.012 / 2
    assert figures(2000, 0.3)["hosts"] > told["hosts"]


def test_more_cores_take_fewer_hosts() -> None:
    many, few = figures(1000, 0.3), figures(1000, 0.3, cores=8)
    assert few["hosts"] < many["hosts"]
    assert few["processes"] > many["processes"]


def test_a_limit_that_one_request_alone_does_not_keep_is_met_by_no_host() -> None:
    assert "no number of hosts would do" in words(text(10, 0.01))
    assert not answered(10, 0.01).met


def test_connections_stay_within_what_the_database_has() -> None:
    free, told = figures(200, 0.4, 4), figures(200, 0.4, 4, max_connections=120)
    for figure in (free, told):
        each = figure["threads"] + figure["max_workers"] + 1
        assert figure["connections"]["process"] == each
        assert figure["connections"]["host"] == each * figure["processes"]
        assert figure["connections"]["all"] == each * figure["processes"] * figure["hosts"]
    assert free["met"]
    assert told["connections"]["all"] <= 120
    assert not answered(200, 0.4, 4, max_connections=4).met


def test_the_figures_of_json_are_those_of_the_text() -> None:
    told, shown = figures(1000, 0.3, 16), text(1000, 0.3, 16)
    for name in ("p50", "p99"):
        assert told[name]["low"] <= told[name]["expected"] <= told[name]["high"]
        assert milliseconds(told[name]["expected"]) in shown
    assert f"processes = {told['processes']}\n" in shown
    assert told["met"]
    assert told["p99"]["expected"] <= 0.3
    assert set(told["used"]) == {"processor", "threads", "workers"}
    assert told["queries_per_second"] == pytest.approx(8000)
