"""The classic measurements and their bounds."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("where", ["python", "sql"])
@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_a_sleep_is_measured_where_it_is_slept(client, where, mode):
    answer = client.get(f"/sleep/{where}?seconds=0.05&queries=3&mode={mode}").get_json()
    assert answer["mode"] == mode
    assert answer["queries"] == len(answer["tasks"]) == 3
    for task in answer["tasks"]:
        assert task["end_ms"] - task["start_ms"] >= 50
    if mode == "sequential":
        assert answer["elapsed_ms"] >= 150


@pytest.mark.parametrize("where", ["python", "sql"])
@pytest.mark.parametrize(
    "seconds", ["nan", "inf", "-inf", "-1", "10.1", "1e9", "", "soon", "0x1", "1,5"]
)
def test_seconds_outside_their_range_are_refused_with_the_range(client, where, seconds):
    response = client.get(f"/sleep/{where}", query_string={"seconds": seconds})
    assert response.status_code == 400
    assert "it must be a number of seconds from 0 to 10" in response.get_json()["message"]


@pytest.mark.parametrize("where", ["python", "sql"])
@pytest.mark.parametrize("queries", ["0", "51", "-1", "1.5", "", "many", "1_0", "9" * 5000, "٣"])
def test_queries_outside_their_range_are_refused_with_the_range(client, where, queries):
    response = client.get(f"/sleep/{where}", query_string={"seconds": "0", "queries": queries})
    assert response.status_code == 400
    assert "it must be a whole number from 1 to 50" in response.get_json()["message"]
    assert len(response.data) < 300


@pytest.mark.parametrize("where", ["python", "sql"])
def test_the_bounds_themselves_are_accepted(client, where):
    assert client.get(f"/sleep/{where}?seconds=0&queries=50").status_code == 200


def test_a_sequential_sleep_that_would_outlast_the_request_is_refused(client):
    response = client.get("/sleep/sql?seconds=10&queries=3&mode=sequential")
    assert response.status_code == 400
    assert response.get_json()["message"] == (
        "seconds times queries is 30; one after another it must be at most 25"
    )
