"""On a busy machine callers keep short statements: the session executes one after another."""

from __future__ import annotations

import gc
import math
import threading
import time

import pytest
from sqlalchemy import create_engine, event, func, literal, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from commonpool import (
    DeadlineExceeded,
    OwnerExecutor,
    WrongThread,
    current_executor,
    pace,
    process,
    run_in_parallel,
)
from commonpool.ext.sqlalchemy import running_statement, send_reads, session_providers, stats
from commonpool.ext.sqlalchemy.kept import KeptStatements, keep
from commonpool.ext.sqlalchemy.running_statement import RunningStatement
from commonpool.owner import current
from commonpool.task import FanOut
from tests.helpers import busy, wait_until
from tests.sqlalchemy.models import USERS, Tag, User

COUNT = select(func.count()).select_from(User)
NOTHING = select(literal(1))
CEILING = 10  # seconds, far below the 30 that an endless statement takes


@pytest.fixture(autouse=True)
def _busy():
    with busy(process.current_pool()):
        yield


def keeping(things, session, *, seconds=math.inf, **options):
    """Run things that are known to be short; in a request with a deadline after so many seconds."""
    if session is not None:
        session.connection()
    for batch, limit in (([NOTHING] * len(things), math.inf), (things, seconds)):
        executor = OwnerExecutor(time.monotonic() + limit)
        token = current.set(executor)
        try:
            results = run_in_parallel(batch, session=session, **options)
        finally:
            executor.end()
            current.reset(token)
    return results


@pytest.fixture
def threads(engine):
    """The threads that execute statements."""
    seen = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(*_):
        seen.append(threading.get_ident())

    return seen


def test_the_caller_executes_what_is_known_to_be_short(session, threads):
    before = stats()
    results = keeping([COUNT, select(User), session.query(Tag), session.query(User).count], session)
    assert results[0].scalar_one() == results[3] == USERS
    assert len(results[1].all()) == USERS
    assert set(threads[4:]) == {threading.get_ident()}
    assert stats().by_callers >= before.by_callers + 4


def test_what_a_replica_would_serve_is_not_kept_and_what_it_would_not_is(engine, tmp_path):
    primary, replica = (create_engine(f"sqlite:///{tmp_path / name}") for name in ("one", "two"))
    send_reads(primary, reads_on=replica, all_may_be_stale=True)
    fan_out = FanOut(current_executor().owner, has_caller=True)
    with Session(primary) as session:
        session.connection()
        assert keep([NOTHING, NOTHING], fan_out, session) is None
    with Session(binds={User: engine, Tag: primary}) as session:
        session.scalar(COUNT)
        assert keep([COUNT, COUNT], fan_out, session) is not None
        assert keep([COUNT, select(Tag)], fan_out, session) is None
    with Session(engine) as session:
        session.connection()
        assert keep([COUNT, session.query(User)], fan_out, session) is not None
    primary.dispose()


def test_a_failure_is_raised_as_itself_and_the_rest_not_executed(session, threads):
    wrong = select(literal(1)).select_from(func.no_such_function())
    with pytest.raises(DBAPIError) as caught:
        keeping([COUNT, wrong, COUNT, COUNT], session)
    assert any(
        note.startswith("in task 2 of 4 of a run_in_parallel: SELECT")
        for note in caught.value.__notes__
    )
    assert len(threads) <= 4 + 2
    session.rollback()
    assert session.scalar(COUNT) == USERS


def test_failures_that_are_returned_stop_nothing(session):
    wrong = select(literal(1)).select_from(func.no_such_function())
    first, error, last = keeping([NOTHING, wrong, NOTHING], session, return_exceptions=True)
    assert first.scalar_one() == 1
    assert isinstance(error, DBAPIError)
    # PostgreSQL does nothing more in a transaction with an error, on whichever connection
    assert isinstance(last, DBAPIError) or last.scalar_one() == 1


def test_what_was_begun_before_the_deadline_is_stopped(database, session):
    assert session.scalar(COUNT) == USERS
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"(?i)select|with recursive"):
        keeping([COUNT, COUNT, database.endless("kept"), COUNT], session, seconds=0.5)
    assert time.monotonic() - began < CEILING
    session.rollback()
    assert session.scalar(COUNT) == USERS
    if database.has_server:
        wait_until(lambda: not any("kept" in text for text in database.statements_running()))


def test_nothing_is_sent_after_the_deadline(session, engine):
    sent = []

    @event.listens_for(engine, "after_cursor_execute")
    def delay(_connection, _cursor, text, *_):
        sent.append(text)
        if "late" in text:
            time.sleep(0.6)

    late = select(literal(1).label("late"))
    with pytest.raises(DeadlineExceeded, match=None):
        keeping([NOTHING, late, select(literal(1).label("never"))], session, seconds=0.5)
    assert "late" in sent[-1]
    session.rollback()
    assert session.scalar(COUNT) == USERS


def test_what_comes_too_late_is_not_returned(session, engine):
    @event.listens_for(engine, "after_cursor_execute")
    def delay(_connection, _cursor, text, *_):
        if "late" in text:
            time.sleep(0.6)

    late = select(literal(1).label("late"))
    with pytest.raises(DeadlineExceeded, match="The caller itself was running SELECT"):
        keeping([NOTHING, late], session, seconds=0.5)


def test_nothing_is_stopped_between_two_statements(session, monkeypatch):
    """While its statement is paused, a connection is neither stopped nor cut."""
    monkeypatch.setattr(running_statement, "STOP_AFTER", 0.05)
    monkeypatch.setattr(running_statement, "CUT_AFTER", 0.1)
    stopped = stats().stopped, stats().cut_off
    own = session.connection()
    opened = own.connection.dbapi_connection

    @event.listens_for(session, "do_orm_execute")
    def delay(state):
        if "last" in str(state.statement):
            time.sleep(1)  # past the deadline, and past the cut

    with pytest.raises(DeadlineExceeded, match=None):
        keeping([NOTHING, NOTHING, select(literal(1).label("last"))], session, seconds=0.5)
    assert session.connection().connection.dbapi_connection is opened
    assert session.scalar(COUNT) == USERS
    assert (stats().stopped, stats().cut_off) == stopped


def test_one_watch_is_enough_for_all(session, monkeypatch):
    session.scalar(COUNT)
    watcher = process.current_pool().watcher
    watches, at = [], watcher.at

    def counted(moment, action):
        if "_begin" in repr(action):
            watches.append(action)
        return at(moment, action)

    monkeypatch.setattr(watcher, "at", counted)
    keeping([COUNT] * 5, session, seconds=60)
    assert len(watches) == 1


@pytest.fixture
def watched(monkeypatch):
    """The statements that the watcher was asked to stop, should they go on for too long."""
    made, init = [], RunningStatement.__init__

    def noted(statement, *args):
        init(statement, *args)
        made.append(statement)

    monkeypatch.setattr(RunningStatement, "__init__", noted)
    return made


def test_statements_in_the_events_of_statements_are_not_stopped_later(session, engine, watched):
    session.connection()

    @event.listens_for(engine, "before_cursor_execute")
    def ask_before(connection, _cursor, text, *_):
        if "outer" in text:
            connection.execute(select(literal(1).label("inner"))).all()

    outer = select(literal(1).label("outer"))
    results = keeping([COUNT, outer, COUNT, outer, outer], session, seconds=60)
    assert [result.scalar_one() for result in results] == [USERS, 1, USERS, 1, 1]
    assert watched
    assert all(statement._over for statement in watched)  # noqa: SLF001 - nobody else asks


@pytest.mark.databases("mariadb", "postgresql")
def test_what_ends_while_it_is_stopped_brings_its_connection_down(session, engine, monkeypatch):
    """What it returned may be wrong, and so may be what would come after it."""
    session.scalar(COUNT)
    connection = session.connection()
    stopping_now = threading.Event()
    stop = RunningStatement._stop  # noqa: SLF001

    def noted(statement):
        stop(statement)
        stopping_now.set()

    monkeypatch.setattr(RunningStatement, "_stop", noted)
    monkeypatch.setattr(running_statement, "STOP_AFTER", 0.0)

    @event.listens_for(engine, "do_execute")
    def hold(cursor, text, parameters, _context):
        cursor.execute(text, parameters)
        if "held" in text:
            assert stopping_now.wait(CEILING)
        return True

    held = select(literal(1).label("held"))
    with pytest.raises(DeadlineExceeded, match="was stopped in the database"):
        keeping([COUNT, held, COUNT], session, seconds=0.3)
    assert connection.invalidated
    session.rollback()
    assert session.scalar(COUNT) == USERS


def test_workers_execute_the_rest_after_one_that_takes_long(
    database, session, engine, threads, monkeypatch
):
    mine = threading.get_ident()

    @event.listens_for(engine, "before_cursor_execute")
    def hold_the_caller_up(*_):
        if len(threads) > 5 and threading.get_ident() == mine:
            wait_until(lambda: set(threads[5:]) - {mine}, limit=CEILING)

    monkeypatch.setattr(pace, "SURPRISE", 1.0)
    with busy(process.current_pool(), arrival=0.3):
        keeping([database.sleep(0.5), COUNT, COUNT, COUNT], session)
    assert threads[4] == mine
    assert set(threads[5:]) - {mine}


def test_a_task_may_not_use_its_callers_session(session):
    def task():
        return keeping([COUNT, COUNT], session)

    session.scalar(COUNT)
    with busy(process.current_pool()), pytest.raises(WrongThread, match=None):
        run_in_parallel([task, lambda: None])


def test_ctrl_c_ends_it_at_once(session, engine):
    @event.listens_for(engine, "before_cursor_execute")
    def interrupt(_connection, _cursor, text, *_):
        if "interrupted" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keeping([COUNT, select(literal(1).label("interrupted")), COUNT], session)
    session.rollback()
    assert session.scalar(COUNT) == USERS


def test_streams_come_whole(session):
    streamed = select(User).order_by(User.id).execution_options(stream_results=True, yield_per=2)
    first, second = keeping([streamed, streamed], session)
    assert [user.id for user in first.scalars()] == [user.id for user in second.scalars()]
    assert session.scalar(COUNT) == USERS


def test_a_session_with_several_databases_asks_each_in_turn(make_engine):
    one, other = make_engine(), make_engine()
    with Session(binds={User: one, Tag: other}) as session:
        session.bind = one
        tags = select(func.count(Tag.id))
        users = select(func.count(User.id))
        wanted = [session.scalar(statement) for statement in (users, tags)]
        results = keeping([users, tags, users, tags], session, seconds=60)
        assert [result.scalar_one() for result in results] == wanted * 2


def test_things_of_several_sessions_are_asked_of_their_own(make_engine):
    one, other = make_engine(), make_engine()
    with Session(one) as session, Session(other) as second:
        session_providers.append(lambda: session)
        user = session.get(User, 1)
        found, own = keeping([select(User).where(User.id == 1), second.query(User).first], None)[:2]
        assert found.scalar_one() is user
        assert own in second
        assert own not in session


def test_what_is_no_task_is_told_as_ever(session):
    with pytest.raises(TypeError) as caught:
        keeping([COUNT, 5], session)
    assert caught.value.__notes__ == ["as task 2 of run_in_parallel"]


def test_what_would_have_to_wait_for_a_connection_is_not_kept(make_engine):
    engine = make_engine(pool_size=1, max_overflow=0)
    fan_out = FanOut(current_executor().owner, has_caller=True)
    with Session(engine) as session:
        assert keep([COUNT, COUNT], fan_out, session) is None  # there is none yet
        with engine.connect():
            assert keep([COUNT, COUNT], fan_out, session) is None
        assert keep([COUNT, COUNT], fan_out, session) is not None
        session.connection()
        assert keep([COUNT, COUNT], fan_out, session) is not None


def test_rows_can_be_read_when_the_session_is_closed(engine):
    with Session(engine) as session:
        rows, users = keeping([select(User.id), select(User)], session)
    assert len(rows.all()) == len(users.scalars().all()) == USERS


@pytest.mark.databases("sqlite")
def test_of_kept_statements_nothing_is_left_to_the_collector(session):
    gc.collect()
    gc.disable()
    try:
        keeping([COUNT] * 3, session)
        assert not [found for found in gc.get_objects() if type(found) is KeptStatements]
    finally:
        gc.enable()
