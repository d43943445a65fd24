"""Promise 6, in the database: past its deadline a task's statement ends there."""

from __future__ import annotations

import math
import threading
import time

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from commonpool import DeadlineExceeded, OwnerExecutor
from commonpool.ext.sqlalchemy import running_statement, stopping
from commonpool.ext.sqlalchemy.running_statement import RunningStatement
from commonpool.ext.sqlalchemy.servers import MariaDB
from commonpool.ext.sqlalchemy.stats import stats
from tests.helpers import Gate, frozen, wait_until
from tests.sqlalchemy.stopping.helpers import (
    DEADLINE,
    UNTIL_STOPPED,
    run_past_deadline,
    stopper_threads,
    until_stopped,
)


@pytest.fixture(params=["a query", "no query"])
def endless(request, database):
    """A statement that only a stop, or a limit of the server's own, ends."""
    return database.endless() if request.param == "a query" else until_stopped(database)


def execute(engine, statement):
    def task():
        with engine.connect() as connection:
            return connection.execute(statement).all()

    return task


def test_the_statement_is_gone_from_the_server(pool, database, engine, endless):
    before = stats().stopped
    seen = run_past_deadline(pool, execute(engine, endless))
    assert isinstance(seen.error, DeadlineExceeded)
    assert stats().stopped == before + 1
    if database.has_server:
        assert database.statements_running() == []


def test_the_task_is_told_how_late_it_is_and_what_was_stopped(pool, database, engine):
    many_lines = text(f"\n  {UNTIL_STOPPED[database.family]}\n-- {'and more ' * 20}")
    seen = run_past_deadline(pool, execute(engine, many_lines))
    message = str(seen.error)
    assert message.startswith("The deadline passed 0.")
    first = UNTIL_STOPPED[database.family]
    shown = first if len(first) <= 100 else f"{first[:97]}..."
    assert message.endswith(f" s ago; the statement was stopped in the database: {shown}")
    assert isinstance(seen.error.__cause__, engine.dialect.loaded_dbapi.Error)


def test_the_connection_is_the_same_and_clean_afterwards(pool, database, make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)
    opened = []
    event.listen(engine, "connect", lambda *_: opened.append(1))
    run_past_deadline(pool, execute(engine, until_stopped(database)))
    count = len(opened)
    for _ in range(20):
        with engine.connect() as connection:
            assert connection.scalar(select(1)) == 1
    assert len(opened) == count
    assert engine.pool.checkedout() == 0


def test_a_caller_that_runs_the_task_itself_is_freed_too(make_pool, engine, endless):
    make_pool(max_workers=1)
    seen = []

    def task():
        try:
            execute(engine, endless)()
        except DeadlineExceeded as error:
            seen.append(error)
            raise

    executor = OwnerExecutor(time.monotonic() + DEADLINE)
    began_at = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        executor.submit(task).result()
    executor.end()
    wait_until(lambda: seen, limit=5)
    assert time.monotonic() - began_at < 5


def test_what_its_request_abandons_without_a_deadline_is_stopped(pool, database, engine, endless):
    executor = OwnerExecutor(math.inf)
    future = executor.submit(execute(engine, endless))
    wait_until(future.running)
    if database.has_server:
        wait_until(database.statements_running)
    executor.end()
    wait_until(lambda: pool.stats().abandoned == 0, limit=5)
    if database.has_server:
        assert database.statements_running() == []


def test_a_statement_after_its_task_was_abandoned_is_not_sent(make_pool, engine):
    pool = make_pool(max_workers=1)
    executor = OwnerExecutor(math.inf)
    errors = []
    with Gate() as gate:

        def task():
            gate()
            try:
                execute(engine, text("SELECT nonsense FROM nowhere"))()
            except DeadlineExceeded as error:
                errors.append(str(error))

        executor.submit(task)
        wait_until(lambda: gate.inside == 1)
        executor.end()
        wait_until(lambda: pool.stats().abandoned == 1)
    wait_until(lambda: errors)
    assert "the statement was not sent: SELECT nonsense" in errors[0]


def test_a_statement_that_ends_in_time_is_left_alone(pool, engine):
    before = stats()
    seen = run_past_deadline(pool, execute(engine, select(1)), timeout=30)
    assert seen.value == [(1,)]
    assert (stats().stopped, stats().cut_off) == (before.stopped, before.cut_off)


def test_a_statement_after_the_deadline_is_not_sent(pool, engine):
    def task():
        with engine.connect() as connection:
            ends_at = time.monotonic() + DEADLINE
            wait_until(lambda: time.monotonic() > ends_at)
            return connection.execute(text("SELECT nonsense FROM nowhere"))

    seen = run_past_deadline(pool, task)
    assert isinstance(seen.error, DeadlineExceeded)
    assert "the statement was not sent: SELECT nonsense" in str(seen.error)


def test_a_transaction_past_its_deadline_still_ends_in_order(pool, database, engine):
    # SQLite itself rolls the whole transaction back where it is interrupted while it writes
    statement = until_stopped(database) if database.has_server else database.endless()

    def task():
        with engine.begin() as connection, connection.begin_nested():
            connection.execute(statement)

    seen = run_past_deadline(pool, task)
    assert "was stopped in the database" in str(seen.error)
    assert engine.pool.checkedout() == 0


def test_an_error_that_has_nothing_to_do_with_the_deadline_stays_what_it_is(pool, engine):
    seen = run_past_deadline(pool, lambda: failing(engine), timeout=30)
    assert "nowhere" in seen.value


def failing(engine):
    with engine.connect() as connection, pytest.raises(DBAPIError) as failure:
        connection.execute(text("SELECT * FROM nowhere"))
    return str(failure.value)


@pytest.mark.databases("mariadb", "postgresql")
def test_somebody_else_s_stop_before_the_deadline_stays_the_driver_s_error(
    make_pool, database, engine
):
    def task():
        with engine.connect() as connection:
            if database.family == "mariadb":
                key = connection.connection.dbapi_connection.thread_id()
                other = f"KILL QUERY {key}"
            else:
                key = connection.scalar(text("SELECT pg_backend_pid()"))
                other = f"SELECT pg_cancel_backend({key})"
            killer.append(other)
            with pytest.raises(DBAPIError) as failure:
                connection.execute(until_stopped(database))
        return failure.value.orig

    make_pool(max_workers=2)
    killer = []
    executor = OwnerExecutor(time.monotonic() + 60)
    future = executor.submit(task)
    wait_until(lambda: killer and database.statements_running())
    with engine.connect() as connection:
        connection.execute(text(killer[0]))
    assert not isinstance(future.result(), DeadlineExceeded)
    executor.end()


def test_a_stop_never_reaches_the_next_statement_of_its_connection(pool, database, make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)
    work = {
        "mariadb": "DO SLEEP({})",
        "postgresql": "SELECT pg_sleep({})",
        "sqlite": "SELECT sleep({})",
    }[database.family]
    for attempt in range(20):
        # ends about when it is told to, a little before or after
        seconds = 0.29 + attempt * 0.001
        statement = text(work.format(f"{seconds:.4f}"))
        run_past_deadline(pool, execute_only(engine, statement), timeout=0.05)
        with engine.connect() as connection:
            for _ in range(5):
                assert connection.scalar(select(1)) == 1
            connection.execute(text(work.format("0.002")))
    assert engine.pool.checkedout() == 0


def execute_only(engine, statement):
    def task():
        with engine.connect() as connection:
            connection.execute(statement)

    return task


def test_the_thread_that_stops_statements_ends_when_there_is_none(pool, database, engine):
    run_past_deadline(pool, execute(engine, until_stopped(database)))
    wait_until(lambda: not stopper_threads())


@pytest.mark.databases("mariadb", "postgresql")
def test_a_worker_is_freed_from_a_server_that_does_not_answer(pool, database, make_engine, request):
    engine = make_engine(pool_size=2, max_overflow=0)
    server = request.getfixturevalue(f"{database.family}_server")
    with engine.connect() as kept, engine.connect() as other:  # and the dialect is initialized
        processes = [server.child.pid]
        if database.family == "postgresql":
            processes = [c.scalar(text("SELECT pg_backend_pid()")) for c in (kept, other)]
            processes.append(server.child.pid)
    run_past_deadline(pool, execute(engine, select(1)), timeout=30)  # the spare is there
    before = stats().cut_off
    with frozen(*processes):
        seen = run_past_deadline(pool, execute(engine, select(1)))
    assert "its connection was cut since the database did not answer: SELECT 1" in str(seen.error)
    assert stats().cut_off == before + 1
    assert engine.pool.checkedout() == 0
    with engine.connect() as connection:
        assert connection.scalar(select(1)) == 1
    wait_until(lambda: not stopper_threads())


@pytest.mark.databases("mariadb")
def test_a_statement_that_ends_without_saying_that_it_was_stopped_gives_no_result(
    pool, make_engine
):
    engine = make_engine(pool_size=1, max_overflow=0)
    opened = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    with engine.connect():
        pass
    seen = run_past_deadline(pool, execute_only(engine, text("DO SLEEP(30)")))
    assert str(seen.error).endswith("the statement was stopped in the database: DO SLEEP(30)")
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is not opened[0]
        assert connection.scalar(select(1)) == 1


@pytest.mark.databases("mariadb")
def test_a_stop_that_comes_after_the_servers_own_limit_costs_no_connection(
    pool, database, make_engine, monkeypatch
):
    monkeypatch.setattr(running_statement, "CUT_AFTER", 30.0)
    monkeypatch.setattr(stopping, "LIMIT_AFTER", 1.0)  # after the stop has begun
    ended, stopped = threading.Event(), []
    end, stop = RunningStatement.end, MariaDB.stop

    def told_of_its_end(statement):
        ended.set()
        end(statement)

    def stop_too_late(*args, **kwargs):
        assert ended.wait(30)
        stop(*args, **kwargs)
        stopped.append(args)

    monkeypatch.setattr(RunningStatement, "end", told_of_its_end)
    monkeypatch.setattr(MariaDB, "stop", stop_too_late)
    engine = make_engine(pool_size=1, max_overflow=0)
    opened = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    with engine.connect():
        ended.clear()
    seen = run_past_deadline(pool, execute(engine, database.endless()), limit=30)
    assert isinstance(seen.error, DeadlineExceeded)
    assert len(stopped) == 1
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is opened[0]
        assert connection.scalar(select(1)) == 1


def test_every_listener_for_errors_sees_what_the_task_will_get(pool, database, engine):
    told = []
    event.listen(engine, "handle_error", lambda context: told.append(context.chained_exception))
    seen = run_past_deadline(pool, execute(engine, until_stopped(database)))
    assert told == [seen.error]


def test_a_listener_that_raises_does_not_leave_a_stop_behind(pool, database, make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)

    def refuse(_):
        raise RuntimeError("mine")

    event.listen(engine, "handle_error", refuse)

    def task():
        with engine.connect() as connection, pytest.raises(RuntimeError, match="mine"):
            connection.execute(text("SELECT * FROM nowhere"))
        with engine.connect() as connection:
            connection.execute(until_stopped(database))

    seen = run_past_deadline(pool, task, timeout=2.0)
    assert isinstance(seen.error, RuntimeError)
    with engine.connect() as connection:
        assert connection.scalar(select(1)) == 1


def test_a_statement_that_ctrl_c_ends_is_not_stopped_later(pool, engine, monkeypatch):
    made, init = [], RunningStatement.__init__

    def noted(statement, *args):
        init(statement, *args)
        made.append(statement)

    monkeypatch.setattr(RunningStatement, "__init__", noted)

    @event.listens_for(engine, "do_execute")
    def interrupt(*_):
        raise KeyboardInterrupt

    executor = OwnerExecutor(time.monotonic() + 60)
    with pytest.raises(KeyboardInterrupt):
        executor.submit(execute(engine, select(1))).result()
    executor.end()
    assert made
    assert all(statement._over for statement in made)  # noqa: SLF001 - nobody else asks
    assert pool.stats().abandoned == 0
