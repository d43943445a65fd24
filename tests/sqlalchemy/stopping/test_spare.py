"""The spare connection gets through when no other does."""

from __future__ import annotations

import gc
import os

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from commonpool.ext.sqlalchemy import servers
from tests.helpers import wait_until
from tests.sqlalchemy.stopping.helpers import run_past_deadline, until_stopped

pytestmark = pytest.mark.databases("mariadb")


def stop_me(engine, database):
    def task():
        with engine.connect() as connection:
            connection.execute(until_stopped(database))

    return task


def have_spare(pool, engine):
    """It is opened with the first statement that has a deadline."""

    def task():
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    run_past_deadline(pool, task, timeout=30)


def connections(database):
    engine = create_engine(database.url, poolclass=NullPool)
    with engine.connect() as connection:
        return set(
            connection.scalars(
                text(
                    "SELECT id FROM information_schema.processlist"
                    " WHERE id <> CONNECTION_ID() AND db = DATABASE()"
                )
            )
        )


def test_it_stops_statements_when_the_server_takes_no_more_connections(pool, database, make_engine):
    engine = make_engine(pool_size=2, max_overflow=0)
    have_spare(pool, engine)
    greedy = create_engine(database.url, poolclass=NullPool)
    held = []

    def take_all():
        while True:
            held.append(greedy.connect())

    with pytest.raises(DBAPIError, match="Too many connections"):
        take_all()
    try:
        seen = run_past_deadline(pool, stop_me(engine, database))
        assert "was stopped in the database" in str(seen.error)
    finally:
        for connection in held:
            connection.close()


def test_it_is_one_connection_beside_the_engine_s_own(pool, database, make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)
    for _ in range(3):
        run_past_deadline(pool, stop_me(engine, database))
    assert len(connections(database)) == 2
    assert engine.pool.checkedout() == 0


def test_it_is_opened_again_when_it_was_lost(pool, database, make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)
    have_spare(pool, engine)
    with engine.connect() as connection:
        own = connection.connection.dbapi_connection.thread_id()
        (spare,) = connections(database) - {own}
        connection.execute(text(f"KILL {spare}"))
    wait_until(lambda: connections(database) == {own})
    seen = run_past_deadline(pool, stop_me(engine, database))
    assert "was stopped in the database" in str(seen.error)


def test_it_is_closed_with_its_engine(pool, database, make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)
    have_spare(pool, engine)
    engine.dispose()
    wait_until(lambda: not connections(database))


def test_it_goes_with_an_engine_that_nobody_has_any_more(pool, database):
    engine = create_engine(database.url, poolclass=NullPool)
    have_spare(pool, engine)
    assert len(connections(database)) == 1
    del engine
    wait_until(lambda: gone(database))


def gone(database):
    gc.collect()
    return not connections(database)


def test_a_fork_does_not_touch_its_parent_s(pool, database, make_engine):
    engine = make_engine(poolclass=NullPool)
    have_spare(pool, engine)
    before = connections(database)
    assert len(before) == 1
    with engine.connect() as connection:
        child = os.fork()
        if child == 0:
            try:
                servers.server_of(connection)  # any use of it in the child
                gc.collect()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    seen = run_past_deadline(pool, stop_me(engine, database))
    assert "was stopped in the database" in str(seen.error)
    assert connections(database) == before
