"""The page, through nginx, uWSGI, Flask and mysqlclient to MariaDB."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from stack.native.servers import Site


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_the_page_is_served(client: httpx.Client, mode: str) -> None:
    answer = client.get("/", params={"mode": mode})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<svg" in answer.text


def test_parallel_and_sequential_give_equal_results(client: httpx.Client) -> None:
    parallel = client.get("/api/dashboard", params={"mode": "parallel"}).json()
    sequential = client.get("/api/dashboard", params={"mode": "sequential"}).json()
    assert len(parallel["results"]) >= 6
    assert parallel["results"] == sequential["results"]


def test_queries_of_a_request_are_all_running_at_once(client: httpx.Client) -> None:
    answer = client.get("/sleep/sql", params={"seconds": 0.5, "queries": 6}).json()
    tasks = answer["tasks"]
    assert len(tasks) == 6
    assert max(task["start_ms"] for task in tasks) < min(task["end_ms"] for task in tasks)
    assert len({task["thread"] for task in tasks}) == 6


def test_sequential_queries_run_one_after_another(client: httpx.Client) -> None:
    answer = client.get(
        "/sleep/sql", params={"seconds": 0.1, "queries": 3, "mode": "sequential"}
    ).json()
    tasks = answer["tasks"]
    for earlier, later in itertools.pairwise(tasks):
        assert earlier["end_ms"] <= later["start_ms"]
    assert len({task["thread"] for task in tasks}) == 1


def test_every_worker_process_answers(site: Site) -> None:
    assert len(site.uwsgi.worker_pids()) == 2
