"""The limit that a server keeps by itself."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import bindparam, select, text

from commonpool.ext.sqlalchemy.limits import limit_on_server, mariadb_limited, mysql_limited
from tests.sqlalchemy.stopping.helpers import run_past_deadline


def test_mysql_has_it_as_a_hint_behind_the_first_select():
    assert mysql_limited("SELECT 1", 1.5) == "SELECT /*+ MAX_EXECUTION_TIME(1500) */ 1"
    assert (
        mysql_limited("\n select a FROM (SELECT 2) t", 0.0001)
        == "\n select /*+ MAX_EXECUTION_TIME(1) */ a FROM (SELECT 2) t"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT /*+ MAX_EXECUTION_TIME(5) */ 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "UPDATE t SET a = 1",
        "SELECTED",
    ],
)
def test_mysql_has_none_where_there_is_a_hint_or_no_select(statement):
    assert mysql_limited(statement, 1) == statement


@pytest.mark.parametrize(
    "statement", ["UPDATE t SET a = 1", "SET STATEMENT max_statement_time=1 FOR SELECT 1"]
)
def test_mariadb_limits_nothing_but_queries(statement):
    assert mariadb_limited(statement, 1) == statement


@pytest.mark.databases("mariadb")
def test_a_limited_query_returns_what_it_would_have(pool, engine):
    statement = text("WITH a AS (SELECT :x AS `100%`, '%s' AS b) SELECT * FROM a").bindparams(
        bindparam("x", 7)
    )

    def task():
        with engine.connect() as connection:
            result = connection.execute(statement)
            limit = connection.scalar(text("SELECT @@max_statement_time"))
            return list(result.keys()), result.all(), float(limit)

    keys, rows, limit = run_past_deadline(pool, task, timeout=30).value
    assert (keys, rows) == (["100%", "b"], [(7, "%s")])
    assert 20 < limit <= 30.1


@pytest.mark.databases("mariadb")
def test_a_shorter_limit_of_the_session_is_kept(pool, engine):
    def task():
        with engine.connect() as connection:
            connection.execute(text("SET SESSION max_statement_time = 3"))
            return float(connection.scalar(text("SELECT @@max_statement_time")))

    assert run_past_deadline(pool, task, timeout=30).value == 3


@pytest.mark.databases("postgresql")
def test_postgresql_limits_a_transaction_and_keeps_a_shorter_limit(engine):
    with engine.connect() as connection:

        def limit():
            return connection.scalar(text("SELECT current_setting('statement_timeout')"))

        limit_on_server(connection, 1.5)
        assert limit() == "1600ms"
        connection.rollback()
        assert limit() == "0"
        connection.execute(text("SET LOCAL statement_timeout = '1s'"))
        limit_on_server(connection, 1.5)
        assert limit() == "1s"
        limit_on_server(connection, -5)
        assert limit() == "1ms"


def test_other_databases_and_no_deadline_need_no_statement(database, engine):
    with engine.connect() as connection:
        limit_on_server(connection, 60 if database.family != "postgresql" else math.inf)
        assert not connection.in_transaction()
        assert connection.scalar(select(1)) == 1
