"""What once broke it."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from concurrent.futures import wait
from functools import partial

import pytest
from sqlalchemy import column, event, func, literal, select, table, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from commonpool import (
    DeadlineExceeded,
    OwnerExecutor,
    current_executor,
    process,
    put_off,
    run_in_parallel,
)
from commonpool.ext.sqlalchemy import (
    limit_connections,
    prepare_connection,
    sessions,
    statements,
    stats,
)
from commonpool.ext.sqlalchemy.call import StatementCall
from commonpool.ext.sqlalchemy.engines import budget_of
from commonpool.ext.sqlalchemy.statement import StatementTask
from tests.helpers import wait_until
from tests.sqlalchemy.models import USERS, User

COUNT = select(func.count()).select_from(User)


def at_worker():
    return threading.current_thread().name.startswith("commonpool")


def test_a_statement_that_is_submitted_too_late_keeps_no_connection_reserved(session, engine):
    for _ in range(2 * engine.pool.size()):
        with pytest.raises(DeadlineExceeded):
            OwnerExecutor(time.monotonic() - 1).submit(session.execute, COUNT)
    budget = budget_of(engine)
    shares = [budget.take() for _ in range(engine.pool.size())]
    assert None not in shares


def test_a_cancelled_future_keeps_no_connection_reserved(make_engine):
    engine = make_engine(pool_size=5)
    held = threading.Event()
    event.listen(engine, "checkout", lambda *_: at_worker() and held.wait(30))
    with Session(engine) as session:
        futures = [current_executor().submit(session.execute, COUNT) for _ in range(2)]
        assert [future.cancel() for future in futures] == [True, True]
        held.set()
    wait_until(budget_of(engine).has_room)
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_rows_from_before_a_commit_are_not_laid_over_what_it_has_expired(session):
    user = session.get(User, 1)
    future = current_executor().submit(session.execute, select(User))
    wait_until(future.done)
    user.name = "renamed"
    session.commit()
    assert len(future.result().scalars().all()) == USERS
    assert user.name == "renamed"


def test_a_setting_of_the_sessions_own_keeps_its_statements_at_home(database, session):
    if database.family == "postgresql":
        session.execute(text("SELECT set_config('app.tenant', 'a', true)"))
        asked = text("SELECT lower(current_database()), 1")
    elif database.family == "mariadb":
        session.execute(text("SET @tenant = 'a'"))
        asked = text("SELECT 1")
    else:
        session.execute(text("PRAGMA case_sensitive_like = true"))
        asked = text("SELECT 1")
    before = stats()
    run_in_parallel([asked, COUNT], session=session)
    assert stats().on_workers == before.on_workers
    session.rollback()


def test_a_database_that_refuses_workers_is_not_asked_again_and_again(make_engine):
    engine = make_engine()
    attempts = []

    def refuse(dialect, *_):
        if at_worker():
            attempts.append(1)
            raise dialect.loaded_dbapi.OperationalError("too many connections")

    event.listen(engine, "do_connect", refuse)
    with Session(engine) as session:
        session.connection()
        run_in_parallel([COUNT] * 40, session=session)
    assert len(attempts) <= engine.pool.size()


def test_a_limit_outlives_the_pool_of_its_engine(engine):
    limit_connections(engine, 2)
    engine.dispose()
    assert budget_of(engine).limit == 2
    assert budget_of(engine.execution_options(isolation_level="AUTOCOMMIT")).limit == 2


def test_a_worker_survives_that_its_connection_cannot_be_given_back(make_engine, caplog):
    engine = make_engine()

    def fail(_connection):
        if at_worker():
            raise OperationalError("ROLLBACK", {}, Exception("gone"))

    event.listen(engine, "rollback", fail)
    with Session(engine) as session:
        future = current_executor().submit(session.execute, COUNT)
        wait_until(future.done)
        assert future.result().scalar_one() == USERS
        results = run_in_parallel([COUNT] * 3, session=session, timeout=30)
        assert [result.scalar_one() for result in results] == [USERS] * 3
    event.remove(engine, "rollback", fail)
    wait_until(lambda: engine.pool.checkedout() == 0)
    assert "could not be given back" in caplog.text
    assert "ends" not in {record.message.split()[-1] for record in caplog.records}


@pytest.fixture
def prepared():
    """Lets a test register what prepares connections."""
    before = list(sessions._prepare)  # noqa: SLF001 - applications never take one back
    yield prepare_connection
    sessions._prepare[:] = before  # noqa: SLF001


@pytest.mark.databases("postgresql")
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_two_sessions_that_share_a_snapshot_keep_their_own_settings(engine, prepared, level):
    def set_tenant(info, connection):
        connection.execute(
            text("SELECT set_config('app.tenant', :tenant, true)"), {"tenant": info["tenant"]}
        )

    prepared(set_tenant)
    makes = sessionmaker(engine)
    event.listen(makes, "after_begin", lambda s, _t, connection: set_tenant(s.info, connection))
    # not seen to be about the connection, for once: the function is the test's own
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION tenant_now() RETURNS text LANGUAGE sql STABLE "
                "AS 'SELECT current_setting(''app.tenant'', true)'"
            )
        )
    asked = select(func.tenant_now())
    with makes(info={"tenant": "a"}) as a, makes(info={"tenant": "b"}) as b:
        for session in (a, b):
            session.connection(execution_options={"isolation_level": level})
        whose = [a, b, b, a, b, a]
        results = run_in_parallel([partial(s.execute, asked) for s in whose], snapshot="shared")
        assert [r.scalar_one() for r in results] == [s.info["tenant"] for s in whose]


@pytest.mark.databases("mariadb-mysqlclient")
@pytest.mark.filterwarnings("ignore")  # of connections that are leaked, which is the point
def test_a_garbage_collection_anywhere_waits_for_no_lock(make_engine, monkeypatch):
    # A session in a cycle is collected at an allocation while the pool's lock is held: what its
    # connection's return tells the pool must not wait for that lock.
    engine = make_engine(pool_size=2, max_overflow=40)
    lines = put_off.OrderedDict

    def collecting(*args):
        gc.collect()
        return lines(*args)

    monkeypatch.setattr(put_off, "OrderedDict", collecting)
    table_of_one = table("users", column("id"))
    for number in range(20):
        with Session(engine) as session:
            session.connection()
            leaked = Session(engine)
            leaked.connection()
            cycle = [leaked]
            cycle.append(cycle)
            del leaked, cycle
            asked = [select(table_of_one).where(table_of_one.c.id == number)] * 6
            run_in_parallel(asked, session=session)
    gc.collect()
    wait_until(lambda: process.current_pool().stats().busy == 0)


def alive(*kinds):
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, kinds)]


@pytest.mark.databases("sqlite", "mariadb-mysqlclient")
@pytest.mark.parametrize("in_group", [False, True], ids=["submitted", "in a group that fails"])
def test_a_future_whose_result_nobody_takes_leaves_nothing(engine, in_group):
    def request():
        with Session(engine) as session:
            executor = current_executor()
            if not in_group:
                wait_until(executor.submit(session.execute, COUNT).done)
                return
            with pytest.raises(LookupError), executor.task_group() as group:  # noqa: PT012
                group.submit(session.execute, COUNT)
                raise LookupError

    request()
    before = len(alive(StatementTask, StatementCall, Session))
    for _ in range(20):
        request()
    wait_until(lambda: len(alive(StatementTask, StatementCall, Session)) <= before)
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_what_is_dropped_is_freed_without_garbage_collection(session):
    class Marked(dict):
        pass

    gc.disable()
    try:
        session.info["mark"] = Marked()
        kept = weakref.ref(session.info["mark"])
        asked = [select(User), session.query(User).count]
        run_in_parallel(asked, session=session)
        current_executor().submit(session.execute, COUNT).result()
        session.close()
        del session.info["mark"], asked
        assert kept() is None
        results = run_in_parallel([select(User)], session=session)
        users = [weakref.ref(user) for user in results.pop().scalars()]
        session.close()
        wait_until(lambda: not any(user() for user in users))
    finally:
        gc.enable()


def test_a_statement_that_comes_too_late_spoils_no_transaction(session):
    session.execute(text("UPDATE users SET name = 'kept' WHERE id = 2"))
    late = threading.Event()

    def dawdle(_state):
        late.wait(0.2)

    event.listen(session, "do_orm_execute", dawdle)
    answers = run_in_parallel(
        [COUNT, COUNT, COUNT], session=session, timeout=0.1, return_exceptions=True
    )
    assert any(isinstance(answer, DeadlineExceeded) for answer in answers)
    event.remove(session, "do_orm_execute", dawdle)
    session.commit()
    assert session.scalar(select(User.name).where(User.id == 2)) == "kept"


@pytest.mark.parametrize("name", ["commit", "rollback", "close", "flush", "expire_all"])
def test_what_a_session_does_for_its_caller_is_no_task(session, name):
    with pytest.raises(TypeError, match=rf"{name}\(\) of a session is not a question"):
        run_in_parallel([getattr(session, name)])


def test_an_interruption_of_a_worker_at_its_checkout_keeps_no_share(make_engine):
    class QuitError(BaseException):
        pass

    engine = make_engine()
    quits = []

    def interrupt(*_):
        if at_worker() and len(quits) < 3:
            quits.append(1)
            raise QuitError

    event.listen(engine, "checkout", interrupt)
    with Session(engine) as session:
        for _ in range(3):
            results = run_in_parallel([COUNT] * 6, session=session)
            assert [result.scalar_one() for result in results] == [USERS] * 6
    wait_until(lambda: engine.pool.checkedout() == 0)
    budget = budget_of(engine)
    wait_until(budget.has_room)
    shares = [budget.take() for _ in range(engine.pool.size())]
    assert None not in shares


@pytest.mark.databases("sqlite")
def test_a_thousand_statements_are_taken_some_hundred_at_a_time(session):
    numbers = range(1000)
    asked = [select(literal(number)) for number in numbers]
    results = run_in_parallel(asked, session=session)
    assert [result.scalar_one() for result in results] == list(numbers)


def test_a_share_that_two_threads_give_back_at_once_is_given_back_once(engine):
    # else the pool would hand one connection to two
    returned = []
    event.listen(engine, "checkin", lambda *_: returned.append(1))
    budget = budget_of(engine)
    rounds = 50
    for _ in range(rounds):
        share = budget.take()
        share.connection = engine.connect()
        share.connected()
        together = threading.Barrier(2)

        def give_back(share=share, together=together):
            together.wait(30)
            share.give_back()

        threads = [threading.Thread(target=give_back) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(returned) == rounds
    assert budget.has_room()


def test_a_failed_statement_that_nobody_asks_for_is_logged_once(session, caplog):
    futures = [current_executor().submit(session.scalar, text("SELECT no_such")) for _ in range(2)]
    with pytest.raises(DBAPIError):
        futures[0].result()
    wait([futures[1]])
    futures.clear()
    gc.collect()

    def said():  # of this statement; what other tests have left may be collected here
        return [record for record in caplog.records if "no_such" in record.getMessage()]

    wait_until(said)
    (record,) = said()
    assert "nobody asked for its result" in record.getMessage()
    assert issubclass(record.exc_info[0], DBAPIError)
    session.rollback()
    assert session.scalar(text("SELECT 1")) == 1


@pytest.mark.databases("sqlite")
def test_a_statement_that_another_thread_compiles_meanwhile_can_be_examined(session):
    """Compiling leaves attributes in a statement; here they come between any two steps."""
    statement = select(literal(1)).with_hint(User, "hint", "sqlite")
    number = iter(range(10**6))

    def come_between(frame, *_):
        if frame.f_code.co_filename != statements.__file__:
            return None
        element = frame.f_locals.get("element")
        if hasattr(element, "__dict__"):
            vars(element)[f"memoized_{next(number)}"] = ()
        return come_between

    sys.settrace(come_between)
    try:
        statements.examine(statement, {})
    finally:
        sys.settrace(None)
    assert next(number) > 0, "nothing came between"
    assert session.scalar(select(literal(1))) == 1
