"""Faults of the database, as the library meets them, on each driver and real servers.

Whatever happens to the database, a request ends by its deadline with an error, its workers are free
again, no connection stays checked out, and the next request after the recovery succeeds.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import create_engine, event, literal, select
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import Session

import commonpool.ext.sqlalchemy  # noqa: F401 - makes statements tasks
from commonpool import DeadlineExceeded, process, run_in_parallel, testing
from commonpool.ext.sqlalchemy import stats
from tests.faults.requests import CEILING, Request, RequestInTransaction
from tests.helpers import wait_until
from tests.sqlalchemy.databases import missing_driver

DEADLINE = 0.7  # seconds of a request that meets the fault
PATIENCE = 30.0  # seconds of one that is to succeed

DRIVERS = {
    "mariadb-mysqlclient": "mysql+mysqldb",
    "mariadb-pymysql": "mysql+pymysql",
    "postgresql-psycopg": "postgresql+psycopg",
}

SETTINGS = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}
"""Of an engine: what the documentation recommends for production."""


@pytest.fixture(params=DRIVERS)
def driver(request):
    if module := missing_driver(request.param):
        pytest.skip(f"the module {module} is not installed")
    return request.param


@pytest.fixture
def server(driver, request):
    server = request.getfixturevalue(f"{driver.partition('-')[0]}_server")
    yield server
    server.end_connections()


@pytest.fixture
def make_engine(server, proxy, driver):
    """Makes engines that reach the server through the proxy."""
    with ExitStack() as stack:

        def make(**settings):
            engine = create_engine(server.url_at(proxy.port, DRIVERS[driver]), **settings)
            stack.callback(engine.dispose)
            stack.callback(testing.reset)  # before: no worker gives a connection back later
            return engine

        yield make


@pytest.fixture
def engine(make_engine):
    return make_engine(**SETTINGS)


def warm(engine):
    """Have connections open, more than a fan-out of three needs."""
    connections = [engine.connect() for _ in range(5)]
    for connection in connections:
        connection.close()


def ask(engine, seconds=DEADLINE, statements=None):
    """Begin a request that runs statements in parallel; by default three that take no time."""
    statements = statements or [select(literal(number)) for number in range(3)]

    def request():
        with Session(engine) as session:
            return [r.scalar_one() for r in run_in_parallel(statements, session=session)]

    return Request(request, seconds)


def is_error(request):
    """Whether a request has ended with an error that says what happened; it has, or it hangs."""
    return isinstance(request.ended().error, DeadlineExceeded | DBAPIError)


def is_well(engine):
    """Whether a request succeeds."""
    request = ask(engine, PATIENCE).ended(PATIENCE)
    assert request.error is None, request.error
    return request.value == [0, 1, 2]


def holds_nothing(engine):
    """Whether, soon, no worker is busy and no connection is checked out."""
    wait_until(
        lambda: (
            (process.current_pool().stats().busy, engine.pool.checkedout()) == (0, 0)
            and process.current_pool().stats().abandoned == 0
        ),
        limit=CEILING,
    )
    return True


@pytest.fixture
def fault(request, server, proxy):
    """A block in which the server has this fault."""

    @contextmanager
    def block():
        match request.param:
            case "frozen":
                with server.frozen():
                    yield
            case "black hole":
                proxy.swallow()
                yield
                proxy.normal()
            case "killed":
                server.kill()
                yield
                server.start()
            case "refused":
                proxy.refuse()
                proxy.reset()
                yield
                proxy.normal()

    return block


ALL = pytest.mark.parametrize("fault", ["frozen", "black hole", "killed", "refused"], indirect=True)


@ALL
def test_a_fault_between_two_requests_is_an_error_by_the_deadline_until_it_is_over(engine, fault):
    warm(engine)
    assert is_well(engine)
    with fault():
        for _ in range(2):
            assert is_error(ask(engine))
            assert holds_nothing(engine)
    assert is_well(engine)
    assert holds_nothing(engine)


@ALL
def test_a_fault_in_the_middle_of_statements_ends_them_by_the_deadline(server, engine, fault):
    warm(engine)
    used = []
    event.listen(engine, "checkout", lambda connection, *_: used.append(connection))
    request = ask(engine, 3, [server.endless("faulty") for _ in range(3)])
    wait_until(lambda: server.runs("faulty") == 3)
    lost = list(used)
    assert len(lost) >= 3  # MariaDB's spare connection is one of them
    with fault():
        assert is_error(request)
        assert holds_nothing(engine)
    used.clear()
    assert is_well(engine)
    assert is_well(engine)
    assert used
    assert not any(connection is other for connection in lost for other in used)


@ALL
def test_a_fault_before_the_first_connection_is_an_error_by_the_deadline(engine, fault):
    with fault():
        assert is_error(ask(engine))
        assert holds_nothing(engine)
    assert is_well(engine)


@pytest.mark.parametrize("fault", ["black hole"], indirect=True)
def test_no_setting_of_the_engine_is_needed_to_end_by_the_deadline(make_engine, fault):
    engine = make_engine()
    with fault():
        assert is_error(ask(engine))
        assert holds_nothing(engine)
    assert is_well(engine)


def test_connections_that_are_reset_in_the_middle_of_statements_are_an_error_at_once(
    server, proxy, engine
):
    warm(engine)
    request = ask(engine, 2 * CEILING, [server.endless("reset") for _ in range(3)])
    wait_until(lambda: server.runs("reset") == 3)
    proxy.reset()
    assert isinstance(request.ended().error, DBAPIError)
    assert holds_nothing(engine)
    assert is_well(engine)


def test_with_pre_ping_connections_that_were_lost_while_idle_cost_no_request(proxy, engine):
    warm(engine)
    for _ in range(3):
        proxy.reset()
        assert is_well(engine)


def test_without_pre_ping_connections_that_were_lost_while_idle_cost_one_request(
    proxy, make_engine
):
    engine = make_engine()
    warm(engine)
    proxy.reset()
    assert isinstance(ask(engine, PATIENCE).ended(PATIENCE).error, DBAPIError)
    assert is_well(engine)


def test_with_no_connection_left_who_has_one_is_answered_on_it_and_who_has_none_is_told(
    server, engine
):
    statements = [select(literal(number)) for number in range(3)]
    with Session(engine) as session:
        session.connection()
        with server.without_connections():
            assert isinstance(ask(engine, PATIENCE).ended().error, DBAPIError)
            on_workers = stats().on_workers
            request = Request(
                lambda: [r.scalar_one() for r in run_in_parallel(statements, session=session)],
                PATIENCE,
            ).ended()
            assert request.error is None, request.error
            assert request.value == [0, 1, 2]
            assert stats().on_workers == on_workers
    assert holds_nothing(engine)
    assert is_well(engine)


@pytest.mark.parametrize("fault", ["frozen"], indirect=True)
def test_a_transaction_that_is_open_when_a_fault_begins_is_given_up_by_the_deadline(engine, fault):
    warm(engine)

    def go_on(session):
        # a time limit of its own, so that none of them runs on the session's connection
        run_in_parallel([select(literal(2))] * 2, session=session, timeout=DEADLINE / 2)

    request = RequestInTransaction(engine, go_on, 2 * DEADLINE)
    with fault():
        assert is_error(request.let_go_on())
        assert holds_nothing(engine)
    assert is_well(engine)


@pytest.mark.parametrize("fault", ["frozen", "black hole"], indirect=True)
@pytest.mark.parametrize("fails", [True, False])
def test_what_a_request_ends_in_is_not_replaced_by_the_error_of_its_rollback(
    engine, fault, fails, caplog
):
    def go_on(_):
        if fails:
            raise LookupError("mine")
        return "mine"

    request = RequestInTransaction(engine, go_on, DEADLINE)
    with fault():
        ended = request.let_go_on().ended()
    assert ended.value == "mine" or str(ended.error) == "mine"
    assert "did not answer a ROLLBACK" in caplog.text
    assert holds_nothing(engine)
    assert is_well(engine)


@pytest.mark.parametrize("fault", ["frozen"], indirect=True)
def test_a_session_whose_own_connection_was_cut_is_told_to_roll_back_and_goes_on(engine, fault):
    locking = select(literal(2)).with_for_update()
    with Session(engine) as session:
        session.scalar(select(literal(1)))
        with fault():  # the deadline begins after it
            ended = Request(lambda: run_in_parallel([locking], session=session), DEADLINE).ended()
        assert isinstance(ended.error, DeadlineExceeded)
        assert "its connection was cut" in str(ended.error)
        notes = ended.error.__notes__
        assert any(
            "call the session's rollback() before it is used again" in note for note in notes
        )
        with pytest.raises(PendingRollbackError):
            session.scalar(select(literal(3)))
        session.rollback()
        assert session.scalar(select(literal(3))) == 3


def test_a_slow_network_in_pieces_changes_no_answer(proxy, engine):
    proxy.slice(10)
    proxy.delay(0.005)
    assert is_well(engine)
    assert is_well(engine)


def test_connections_that_the_database_refuses_are_waited_for_while_workers_have_some(
    make_engine, server
):
    """One after the other, its statements would do with the one connection that is open."""
    engine = make_engine()
    with engine.connect():
        pass
    with server.without_connections():
        for _ in range(5):
            assert is_well(engine)
            testing.reset()  # with it goes the pause that workers make after a refusal
    assert holds_nothing(engine)
