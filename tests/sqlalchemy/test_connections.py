"""Connections are budgeted: statements never wait for one while their own request holds the last.

Every test has a ceiling of time far below the time that a wait for a connection would take, and
far above what its statements take.
"""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import (
    AssertionPool,
    NullPool,
    SingletonThreadPool,
    StaticPool,
    create_engine,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from commonpool import OwnerExecutor, PoolConfig, current_executor, process, run_in_parallel
from commonpool.ext.sqlalchemy import limit_connections, stats
from commonpool.ext.sqlalchemy.engines import budget_of
from commonpool.owner import current
from tests.helpers import Gate, wait_until
from tests.sqlalchemy.models import ITEMS, ORDERS, USERS, Item, Order, User

LONG = 30.0  # seconds that a wait for a connection takes; nothing here may come near it

COUNTS = [select(func.count()).select_from(entity) for entity in (User, Order, Item)]
RIGHT = [USERS, ORDERS, ITEMS]


def counted(session: Session, times: int = 1) -> list[int]:
    results = run_in_parallel(COUNTS * times, session=session)
    return [result.scalar_one() for result in results]


def wait_until_all_are_back(engine):
    """A worker that came for a connection too late gives it back a moment after the answer."""
    wait_until(lambda: engine.pool.checkedout() == 0)


class Peak:
    """The most connections that were checked out at a time."""

    def __init__(self, engine):
        self._lock = threading.Lock()
        self.now = self.most = 0
        event.listen(engine, "checkout", self._out)
        event.listen(engine, "checkin", self._in)

    def _out(self, *_):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def _in(self, *_):
        with self._lock:
            self.now -= 1


def all_at_once(calls):
    """Call everything, each in a thread of its own, as requests do; raise the first error."""
    errors = []

    def run(call):
        token = current.set(OwnerExecutor())
        try:
            call()
        except BaseException as error:
            errors.append(error)
        finally:
            current.get().end()
            current.reset(token)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert time.monotonic() - began < LONG


def test_a_pool_of_one_connection_is_enough(make_engine):
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=LONG)
    with Session(engine) as session:
        assert counted(session, 4) == RIGHT * 4
        assert counted(session, 4) == RIGHT * 4
    wait_until_all_are_back(engine)


def test_a_pool_of_one_connection_that_the_session_holds_is_enough(make_engine):
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=LONG)
    with Session(engine) as session:
        session.get(User, 1)
        assert engine.pool.checkedout() == 1
        assert counted(session, 4) == RIGHT * 4
        future = current_executor().submit(session.query(User).all)
        assert len(future.result()) == USERS
    wait_until_all_are_back(engine)


def test_a_future_is_done_without_help_where_there_is_one_connection(make_engine):
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=LONG)
    with Session(engine) as session:
        session.get(User, 1)
        futures = [current_executor().submit(session.query(User).count) for _ in range(3)]
        wait_until(lambda: all(future.done() for future in futures))
        assert [future.result() for future in futures] == [USERS] * 3


def test_five_connections_that_five_requests_hold_are_enough(make_engine):
    engine = make_engine(pool_size=5, max_overflow=0, pool_timeout=LONG)
    together = threading.Barrier(5)

    def request():
        with Session(engine) as session:
            session.get(User, 1)
            together.wait(LONG)  # now there is none left
            assert counted(session, 3) == RIGHT * 3
            together.wait(LONG)

    all_at_once([request] * 5)
    wait_until_all_are_back(engine)


def test_32_request_threads_and_five_connections_all_answer(make_engine):
    engine = make_engine(pool_size=5, max_overflow=0, pool_timeout=LONG)

    def request():
        for _ in range(3):
            with Session(engine) as session:
                assert session.get(User, 1).id == 1
                assert counted(session, 2) == RIGHT * 2

    all_at_once([request] * 32)
    wait_until_all_are_back(engine)


def peak_of(engine, wanted):
    """The most connections out at a time; no statement goes on before as many are as wanted."""
    peak = Peak(engine)
    with Session(engine) as session:
        session.get(User, 1)
        event.listen(
            engine, "before_cursor_execute", lambda *_: wait_until(lambda: peak.most >= wanted)
        )
        run_in_parallel(COUNTS * 4, session=session)
    return peak.most


def test_workers_leave_the_overflow_to_the_requests(make_engine):
    engine = make_engine(pool_size=3, max_overflow=10)
    assert peak_of(engine, 3) == 3  # the session's own, and two of the workers'


def test_a_limit_of_ones_own_counts(make_engine):
    engine = make_engine(pool_size=1, max_overflow=10)
    limit_connections(engine, 4)
    assert peak_of(engine, 4) == 4


def test_a_limit_of_nought_is_none(make_engine):
    engine = make_engine(pool_size=1, max_overflow=20)
    limit_connections(engine, 0)
    assert peak_of(engine, 12) == 12


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "5", None])
def test_a_limit_is_a_whole_number(make_engine, wrong):
    with pytest.raises(ValueError, match="connections must be a whole number, 0 or more"):
        limit_connections(make_engine(), wrong)


def test_what_found_no_connection_goes_to_a_worker_when_one_is_free_again(make_engine):
    engine = make_engine(pool_size=2, max_overflow=0, pool_timeout=LONG)
    before = stats()
    caller = threading.get_ident()
    with Session(engine) as session:
        session.get(User, 1)
        other = engine.connect()

        def hold_the_caller_up(*_):
            if threading.get_ident() != caller or other.closed:
                return
            wait_until(lambda: stats().put_off > before.put_off)
            assert stats().on_workers == before.on_workers
            other.close()
            wait_until(lambda: stats().on_workers - before.on_workers >= 2)

        event.listen(engine, "before_cursor_execute", hold_the_caller_up)
        found = run_in_parallel([select(literal(n)) for n in range(9)], session=session)
    assert [result.scalar() for result in found] == list(range(9))


def test_a_worker_that_waits_for_its_connection_does_not_hold_the_statement(make_engine):
    engine = make_engine(pool_size=5, max_overflow=0, pool_timeout=LONG)
    held = threading.Event()

    def wait_for_it(*_):
        if threading.current_thread().name.startswith("commonpool"):
            held.wait(LONG)

    event.listen(engine, "checkout", wait_for_it)
    try:
        with Session(engine) as session:
            assert counted(session) == RIGHT  # the caller has run all of them
    finally:
        held.set()
    wait_until_all_are_back(engine)


def with_a_worker_held_up(engine, session, look):
    """Have one statement run by a worker that is held up, and one by the caller; then look."""
    gate, executed_by = Gate(), []

    def hold_the_worker_up(*_):
        if threading.current_thread().name.startswith("commonpool"):
            gate()
        else:  # the caller would run that, too
            wait_until(lambda: gate.inside == 1)

    def note_who(connection, *_):
        executed_by.append((threading.current_thread(), connection))

    event.listen(engine, "before_cursor_execute", hold_the_worker_up)
    event.listen(engine, "after_cursor_execute", note_who)

    def look_and_let_go():
        try:
            wait_until(lambda: executed_by)
            look()
        finally:
            gate.open()

    looking = threading.Thread(target=look_and_let_go)
    looking.start()
    try:
        found = run_in_parallel([select(literal(n)) for n in range(2)], session=session)
    finally:
        looking.join()
    assert [result.scalar() for result in found] == [0, 1]
    return executed_by[0]


def test_where_connections_are_scarce_a_session_keeps_none_while_it_waits_for_a_worker(make_engine):
    engine = make_engine(pool_size=1, max_overflow=1, pool_timeout=LONG)
    out = []

    def look():
        wait_until(lambda: engine.pool.checkedout() == 1)
        out.append(engine.pool.checkedout())

    with Session(engine) as session:
        thread, _ = with_a_worker_held_up(engine, session, look)
        assert thread is threading.current_thread()
        assert out == [1]  # the worker's
        wait_until_all_are_back(engine)


def test_a_session_with_a_connection_runs_its_own_part_there(make_engine):
    engine = make_engine(pool_size=5, max_overflow=0, pool_timeout=LONG)
    with Session(engine) as session:
        own = session.connection()
        thread, connection = with_a_worker_held_up(engine, session, lambda: None)
        assert thread is threading.current_thread()
        assert connection is own


@pytest.mark.parametrize("options", [{"pool_size": 5}, {"poolclass": NullPool}])
def test_where_there_are_enough_a_session_takes_its_own(make_engine, options):
    engine = make_engine(**options)
    with Session(engine) as session:
        thread, connection = with_a_worker_held_up(engine, session, lambda: None)
        assert thread is threading.current_thread()
        assert connection is session.connection()


def test_a_database_that_refuses_workers_is_left_to_the_caller(make_engine):
    engine = make_engine()

    def refuse(*_):
        if threading.current_thread().name.startswith("commonpool"):
            raise ConnectionRefusedError("no more connections for you")

    event.listen(engine, "checkout", refuse)
    with Session(engine) as session:
        assert counted(session) == RIGHT
        future = current_executor().submit(session.query(User).count)
        assert future.result() == USERS
    wait_until_all_are_back(engine)


def test_functions_that_use_the_database_are_counted_before_a_worker_takes_them(
    database, make_engine
):
    engine = make_engine(pool_size=3, max_overflow=0, pool_timeout=LONG)

    def count():
        with Session(engine) as session:
            session.execute(database.sleep(0.02))
            return session.scalar(COUNTS[0])

    assert run_in_parallel([count]) == [USERS]  # from now on it is known to
    waiting = Peak(engine)
    before = process.current_pool().stats()
    assert run_in_parallel([count] * 12) == [USERS] * 12
    after = process.current_pool().stats()
    assert waiting.most <= 3
    assert after.run_by_callers > before.run_by_callers


def test_other_functions_go_on_while_connections_are_scarce(make_engine):
    process.configure(PoolConfig(max_workers=4))
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=LONG)
    with Gate() as gate, Session(engine) as session:
        session.get(User, 1)
        seen = []

        def look(*_):
            if not seen:
                seen.append(wait_until(lambda: gate.inside == 2))
                gate.open()

        event.listen(engine, "before_cursor_execute", look)
        results = run_in_parallel(
            [COUNTS[0], lambda: gate("a"), COUNTS[1], lambda: gate("b")], session=session
        )
    assert (results[1], results[3]) == ("a", "b")
    assert seen == [True]  # both waited at the gate while the first statement had yet to run


def test_where_the_pool_is_too_small_for_functions_the_error_shows_the_arithmetic(make_engine):
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.2)

    def count():
        with Session(engine) as own:
            return own.scalar(COUNTS[0])

    assert run_in_parallel([count]) == [USERS]
    with Session(engine) as session:
        session.get(User, 1)
        with pytest.raises(PoolTimeoutError) as caught:
            run_in_parallel([count, count])
    [note] = [note for note in caught.value.__notes__ if "pool_size" in note]
    assert "Pool size: 1" in note
    assert "Current Checked out connections: 1" in note
    assert "pool_size + max_overflow >= request threads + max_workers (32)" in note


def test_without_a_pool_of_connections_statements_leave_all_the_same(make_engine):
    engine = make_engine(poolclass=NullPool)
    before = stats()
    with Session(engine) as session:
        assert counted(session, 2) == RIGHT * 2
    assert stats().on_workers > before.on_workers


@pytest.mark.parametrize("poolclass", [StaticPool, SingletonThreadPool, AssertionPool])
def test_pools_of_one_connection_are_the_callers(make_engine, poolclass):
    engine = make_engine(poolclass=poolclass)
    before = stats()
    with Session(engine) as session:
        assert counted(session) == RIGHT
    assert stats().on_workers == before.on_workers


@pytest.mark.parametrize(
    "options",
    [{}, {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}],
    ids=["SingletonThreadPool", "StaticPool"],
)
def test_a_database_in_memory_is_the_callers(options):
    engine = create_engine("sqlite://", **options)
    with Session(engine) as session:
        session.execute(text("CREATE TABLE t (n INTEGER)"))
        session.execute(text("INSERT INTO t VALUES (1), (2)"))
        session.commit()
        results = run_in_parallel([text("SELECT sum(n) FROM t")] * 3, session=session)
        assert [result.scalar_one() for result in results] == [3, 3, 3]
    engine.dispose()


def test_a_budget_counts_each_connection_once(make_engine):
    engine = make_engine(pool_size=4)
    budget = budget_of(engine)
    shares = [budget.take() for _ in range(4)]
    assert None not in shares
    assert budget.take() is None
    assert not budget.has_room()
    shares[0].give_back()
    shares[0].give_back()
    assert budget.has_room()
    with engine.connect():
        assert not budget.has_room()
    assert budget.has_room()
    assert budget.take(at_any_rate=True) is not None
    assert budget.take(at_any_rate=True) is not None  # counted, and given
    assert budget.take() is None
