"""Deadlines stop statements: in the server, wherever they run, with the statement in the error."""

from __future__ import annotations

import math
import threading
import time

import pytest
from sqlalchemy import NullPool, func, select
from sqlalchemy.orm import Session

from commonpool import DeadlineExceeded, OwnerExecutor, process, run_in_parallel
from commonpool.owner import current
from tests.helpers import wait_until
from tests.sqlalchemy.models import USERS, User

COUNT = select(func.count()).select_from(User)
CEILING = 10  # seconds, far below the 30 that an endless statement takes


@pytest.fixture
def in_a_request():
    """Calls something as in a request with a deadline, so many seconds from now."""

    def call(seconds, fn):
        executor = OwnerExecutor(time.monotonic() + seconds)
        token = current.set(executor)
        try:
            return fn()
        finally:
            executor.end()
            current.reset(token)

    return call


def gone(database, mark):
    if database.has_server:
        wait_until(
            lambda: not any(mark in statement for statement in database.statements_running()),
            limit=CEILING,
        )


@pytest.fixture
def warm(engine):
    """An engine whose connections are open: a deadline is for statements here."""
    connections = [engine.connect() for _ in range(5)]
    for connection in connections:
        connection.close()
    return engine


def test_a_callers_timeout_stops_its_statements(database, warm):
    began = time.monotonic()
    with Session(warm) as session:
        with pytest.raises(DeadlineExceeded, match=r"(?i)select|with recursive") as caught:
            run_in_parallel([database.endless("timed"), COUNT], session=session, timeout=0.5)
        assert time.monotonic() - began < CEILING
        gone(database, "timed")
        assert "Running: " in str(caught.value)
        assert run_in_parallel([COUNT], session=session)[0].scalar_one() == USERS
    wait_until(lambda: warm.pool.checkedout() == 0, limit=CEILING)
    wait_until(lambda: process.current_pool().stats().abandoned == 0, limit=CEILING)


def test_a_requests_deadline_stops_what_its_caller_runs(database, warm, in_a_request):
    def request():
        with Session(warm) as session:
            with pytest.raises(DeadlineExceeded, match=r"(?i)select|with recursive"):
                run_in_parallel([database.endless("own")], session=session)
            session.rollback()

    began = time.monotonic()
    in_a_request(0.5, request)
    assert time.monotonic() - began < CEILING
    gone(database, "own")
    with Session(warm) as session:
        assert session.scalar(COUNT) == USERS
    wait_until(lambda: warm.pool.checkedout() == 0)


def test_a_requests_deadline_stops_what_stays_at_home(database, warm, in_a_request):
    def request():
        with Session(warm) as session:
            statement = database.endless("home").execution_options(run_in_caller=True)
            with pytest.raises(DeadlineExceeded, match=r"(?i)select|with recursive"):
                run_in_parallel([statement, COUNT], session=session)
            session.rollback()
            return session.scalar(COUNT)

    began = time.monotonic()
    in_a_request(0.5, request)
    assert time.monotonic() - began < CEILING
    gone(database, "home")


def test_a_future_is_done_at_the_deadline(database, warm, in_a_request):
    def request():
        executor = current.get()
        with Session(warm) as session:
            future = executor.submit(session.execute, database.endless("future"))
            wait_until(lambda: future.done() or process.current_pool().stats().busy)
            wait_until(future.done, limit=CEILING)
            with pytest.raises(DeadlineExceeded):
                future.result()

    in_a_request(0.5, request)
    gone(database, "future")


def test_a_request_that_ends_stops_what_nobody_waits_for(database, warm, in_a_request):
    def request():
        executor = current.get()
        with Session(warm) as session:
            executor.submit(session.execute, database.endless("left"))
            wait_until(lambda: process.current_pool().stats().run_by_workers)
            if database.has_server:
                wait_until(
                    lambda: any("left" in text for text in database.statements_running()),
                    limit=CEILING,
                )

    in_a_request(60, request)
    gone(database, "left")
    wait_until(lambda: process.current_pool().stats().abandoned == 0, limit=CEILING)
    wait_until(lambda: warm.pool.checkedout() == 0)


def test_a_statement_that_ends_in_time_is_left_alone(database, warm, in_a_request):
    def request():
        with Session(warm) as session:
            return [
                run_in_parallel([COUNT, COUNT, database.sleep(0.01)], session=session)[0].scalar()
                for _ in range(20)
            ]

    assert in_a_request(CEILING, request) == [USERS] * 20


def test_the_failing_of_one_stops_nothing_of_another_request(database, warm, in_a_request):
    both = threading.Barrier(2)
    answers = []

    def good():
        with Session(warm) as session:
            both.wait(CEILING)
            for _ in range(10):
                [result] = run_in_parallel([COUNT], session=session)
                answers.append(result.scalar_one())

    thread = threading.Thread(target=in_a_request, args=(60, good))
    thread.start()

    def bad():
        with Session(warm) as session:
            both.wait(CEILING)
            with pytest.raises(DeadlineExceeded):
                run_in_parallel([database.endless(), database.endless()], session=session)
            session.rollback()

    in_a_request(0.3, bad)
    thread.join()
    assert answers == [USERS] * 10


@pytest.mark.databases("mariadb-pymysql")
def test_a_deadline_limits_what_its_own_request_connects_to_and_no_more(make_engine, in_a_request):
    engine = make_engine(poolclass=NullPool, connect_args={"read_timeout": 30})

    def limits():
        with engine.connect() as connection:
            driver = connection.connection.dbapi_connection
            return driver.connect_timeout, driver._read_timeout  # noqa: SLF001

    seconds = [math.inf, 20, 2.5, 20, -1, math.inf]
    # the driver's own limit is 10; after connecting, the engine's is back
    assert [in_a_request(left, limits) for left in seconds] == [
        (10, 30),
        (10, 30),
        (3, 30),
        (10, 30),
        (1, 30),  # for an error handler that writes down what happened, say
        (10, 30),
    ]


def test_a_connection_that_somebody_else_makes_is_left_as_it_is(make_engine, in_a_request):
    plain = make_engine()

    def make():
        return plain.dialect.loaded_dbapi.connect(*arguments, **parameters)

    arguments, parameters = plain.dialect.create_connect_args(plain.url)
    engine = make_engine(creator=make, poolclass=NullPool)
    with Session(engine) as session:
        assert in_a_request(20, lambda: session.scalar(COUNT)) == USERS
