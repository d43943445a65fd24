"""``/healthz``, request ids and headers."""

from __future__ import annotations

import logging
import re

import pytest


def test_health_is_good_where_the_database_answers(client):
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.get_json() == {"status": "ok", "database": "answers"}


def test_health_is_bad_where_the_database_is_missing(make_app, tmp_path):
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/none.db").test_client()
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.get_json() == {"status": "unavailable", "database": "does not answer"}


def test_health_is_asked_without_the_pool_and_without_latency(make_app, loaded, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the pool was used")

    monkeypatch.setattr("stack.app.runs.run_in_parallel", refuse)
    monkeypatch.setattr("stack.app.database.time.sleep", refuse)
    client = make_app(DATABASE_URL=loaded, STACK_DB_LATENCY_MS=10_000).test_client()
    assert client.get("/healthz").status_code == 200


def test_a_sane_request_id_is_taken_and_given_back(client):
    response = client.get("/healthz", headers={"X-Request-Id": "0af7651916cd43dd"})
    assert response.headers["X-Request-Id"] == "0af7651916cd43dd"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "é", 'a"b'])
def test_any_other_request_id_is_replaced(client, given):
    response = client.get("/healthz", headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])


def test_the_request_id_is_in_the_log(make_app, tmp_path, caplog):
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/none.db").test_client()
    with caplog.at_level(logging.WARNING):
        client.get("/healthz", headers={"X-Request-Id": "abc-123"})
    assert [record.request_id for record in caplog.records] == ["abc-123"]


def test_errors_carry_a_request_id_and_are_not_kept(client):
    response = client.get("/api/nowhere")
    assert response.headers["X-Request-Id"]
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
