"""Reads on a replica: real MariaDB servers, of which one replicates the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Engine,
    Integer,
    StaticPool,
    create_engine,
    event,
    func,
    lambda_stmt,
    literal,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.orm import Session, selectinload

from commonpool import (
    DeadlineExceeded,
    OwnerExecutor,
    current_executor,
    process,
    run_in_parallel,
    testing,
)
from commonpool.ext.flask import FlaskCommonPool
from commonpool.ext.sqlalchemy import (
    limit_connections,
    prepare_connection,
    replicas,
    send_reads,
    stats,
)
from commonpool.ext.sqlalchemy.engines import budget_of
from commonpool.owner import current
from tests.helpers import Gate, wait_until
from tests.sqlalchemy.asking import THINGS, WAYS, in_the_session, plain
from tests.sqlalchemy.databases import ENDLESS, wait_for_connections, wanted
from tests.sqlalchemy.models import ITEMS, ORDERS, USERS, Item, Order, User
from tests.sqlalchemy.replication import PRIMARY, REPLICA, Replication

PATIENCE = 60.0  # seconds; with a limit of time a caller leaves all tasks to workers

# `@@server_id` would stay at home, since it tells of its connection.
WHERE = text(
    "SELECT CAST(variable_value AS INTEGER) AS server FROM information_schema.global_variables "
    "WHERE variable_name = 'SERVER_ID'"
).columns(server=Integer)

STALE_WHERE = WHERE.execution_options(may_be_stale=True)

NAME = select(User.name).where(User.id == 1)
STALE_NAME = NAME.execution_options(may_be_stale=True)
OLD = "User 01"

COUNTS = [
    select(func.count()).select_from(entity).execution_options(may_be_stale=True)
    for entity in (User, Order, Item)
]
RIGHT = [USERS, ORDERS, ITEMS]


@pytest.fixture
def servers(two_mariadb_servers: Replication) -> Iterator[Replication]:
    """The primary and the replica, with all rows as they were made."""
    yield two_mariadb_servers
    two_mariadb_servers.restore()


Make = Callable[..., Engine]


@pytest.fixture(params=wanted(("mariadb",)))
def make(servers: Replication, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes engines: of PRIMARY, or of REPLICA."""
    with ExitStack() as stack:

        def make(which: int, **options: Any) -> Engine:
            server = servers.primary if which == PRIMARY else servers.replica
            url = make_url(server.url)
            if request.param == "mariadb-pymysql":
                url = url.set(drivername="mysql+pymysql")
                url = url.update_query_dict({"ssl_disabled": "true"})
            engine = create_engine(url, **options)
            stack.callback(engine.dispose)
            stack.callback(wait_for_connections, engine)
            stack.callback(testing.reset)
            return engine

        yield make


@pytest.fixture
def primary(make: Make) -> Engine:
    return make(PRIMARY)


@pytest.fixture
def replica(make: Make, primary: Engine) -> Engine:
    """It serves what may be stale."""
    engine = make(REPLICA)
    send_reads(primary, reads_on=engine)
    return engine


@pytest.fixture
def session(primary: Engine) -> Iterator[Session]:
    with Session(primary) as session:
        yield session


@contextmanager
def a_request() -> Iterator[OwnerExecutor]:
    """What runs in the block is a request."""
    executor = OwnerExecutor()
    token = current.set(executor)
    try:
        yield executor
    finally:
        current.reset(token)
        executor.end()


def scalars(session: Session, *statements: Any, **settings: Any) -> list[Any]:
    return [one.scalar_one() for one in run_in_parallel(statements, session=session, **settings)]


def rename(engine: Engine, name: str) -> None:
    """Commit another name for the first user."""
    with engine.begin() as connection:
        connection.execute(update(User).where(User.id == 1).values(name=name))


def executed_on(engine: Engine) -> list[str]:
    """What an engine executes from now on."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    return statements


# Which server


@pytest.mark.usefixtures("replica")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_may_be_stale_is_served_by_the_replica_and_all_else_by_the_primary(
    session: Session, way: Callable[[Any, Session], Any]
) -> None:
    assert way(STALE_WHERE, session).scalar_one() == REPLICA
    assert way(WHERE, session).scalar_one() == PRIMARY


@pytest.mark.usefixtures("replica")
@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_each_statement_of_a_fan_out_goes_where_it_may(
    session: Session, timeout: float | None
) -> None:
    before = stats()
    found = scalars(session, STALE_WHERE, WHERE, WHERE, STALE_WHERE, timeout=timeout)
    assert found == [REPLICA, PRIMARY, PRIMARY, REPLICA]
    assert stats().on_replicas == before.on_replicas + 2


def test_all_may_be_stale_where_that_is_said_but_what_says_that_it_may_not(
    primary: Engine, make: Make, session: Session
) -> None:
    send_reads(primary, reads_on=make(REPLICA), all_may_be_stale=True)
    not_stale = WHERE.execution_options(may_be_stale=False)
    assert scalars(session, WHERE, not_stale, STALE_WHERE) == [REPLICA, PRIMARY, REPLICA]


@pytest.mark.usefixtures("replica")
def test_without_a_replica_any_more_the_primary_serves_all(
    primary: Engine, session: Session
) -> None:
    send_reads(primary, reads_on=None)
    assert scalars(session, STALE_WHERE, STALE_WHERE) == [PRIMARY, PRIMARY]


@pytest.mark.usefixtures("replica")
def test_outside_of_a_fan_out_the_session_asks_the_primary(session: Session) -> None:
    run_in_parallel([STALE_WHERE], session=session)
    assert session.execute(STALE_WHERE).scalar_one() == PRIMARY


STALE = {"may_be_stale": True}
ASKED: dict[str, Callable[[Session], Any]] = {
    "a query": lambda s: s.query(User).execution_options(**STALE),
    "Query.first": lambda s: s.query(User).execution_options(**STALE).first,
    "Query.count": lambda s: s.query(User).execution_options(**STALE).count,
    "Query.one": lambda s: s.query(User).filter_by(id=3).execution_options(**STALE).one,
    "Query.scalar": lambda s: s.query(func.max(User.id)).execution_options(**STALE).scalar,
    "Session.execute with the option": lambda s: partial(
        s.execute, select(User), execution_options=STALE
    ),
    "Session.execute of a statement with it": lambda s: partial(
        s.execute, select(User).execution_options(**STALE)
    ),
    "Session.scalars": lambda s: partial(s.scalars, select(User), execution_options=STALE),
    "Session.scalar": lambda s: partial(
        s.scalar, statement=select(User.id).execution_options(**STALE).limit(1)
    ),
    "Session.get": lambda s: partial(s.get, User, 3, execution_options=STALE),
    "a lambda": lambda _: lambda_stmt(lambda: select(User).execution_options(may_be_stale=True)),
    "a union": lambda _: select(User.id).union(select(Order.id)).execution_options(**STALE),
    "selectinload": lambda _: (
        select(User)
        .options(selectinload(User.orders).selectinload(Order.items))
        .execution_options(**STALE)
    ),
    "a query with selectinload": lambda s: (
        s.query(User).options(selectinload(User.orders)).execution_options(**STALE)
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_option_is_found_on_whatever_is_asked_and_holds_for_what_it_loads_further(
    primary: Engine, replica: Engine, session: Session, name: str
) -> None:
    session.connection()
    thing = ASKED[name](session)
    wanted = plain(in_the_session(thing, session))
    session.expunge_all()
    for way in WAYS:
        of_primary, of_replica = executed_on(primary), executed_on(replica)
        assert plain(way(ASKED[name](session), session)) == wanted
        # in one of the ways it is asked for beside another thing, which is of no table
        assert not [sql for sql in of_primary if "FROM" in sql], way.__name__
        assert of_replica, way.__name__
        session.expunge_all()


@pytest.mark.parametrize("name", THINGS)
def test_a_replica_gives_what_the_session_would_have_returned(
    primary: Engine, make: Make, name: str
) -> None:
    with Session(primary) as session:
        wanted = plain(in_the_session(THINGS[name](session), session))
    send_reads(primary, reads_on=make(REPLICA), all_may_be_stale=True)
    for way in WAYS:
        before = stats()
        with Session(primary) as session:
            assert plain(way(THINGS[name](session), session)) == wanted, way.__name__
        after = stats()
        assert after.on_replicas > before.on_replicas, way.__name__
        assert after.at_home == before.at_home, way.__name__


# What is seen


def test_stale_rows_are_seen_only_where_they_may_be(
    servers: Replication, primary: Engine, make: Make, session: Session
) -> None:
    send_reads(primary, reads_on=make(REPLICA))
    with servers.paused():
        rename(primary, "new")
        assert scalars(session, STALE_NAME, NAME, NAME, STALE_NAME) == [OLD, "new", "new", OLD]
    session.rollback()
    assert scalars(session, STALE_NAME, NAME) == ["new", "new"]


@pytest.mark.usefixtures("replica")
def test_objects_are_the_sessions_own_whoever_has_served_them(
    primary: Engine, session: Session
) -> None:
    statement = select(User).order_by(User.id)
    fresh, stale = run_in_parallel(
        [statement, statement.execution_options(may_be_stale=True)], session=session
    )
    users = fresh.scalars().all()
    assert all(one is other for one, other in zip(users, stale.scalars(), strict=True))
    assert all(user in session for user in users)
    of_primary = executed_on(primary)
    assert users[7].orders  # loaded now
    assert len(of_primary) == 1


@pytest.mark.usefixtures("replica")
def test_what_a_replica_has_is_not_laid_over_what_a_session_has_changed(session: Session) -> None:
    user = session.get_one(User, 1)
    user.name = "changed"
    before = stats()
    stale = select(User).where(User.id == 1).execution_options(may_be_stale=True)
    found, where = run_in_parallel([stale, STALE_WHERE], session=session)
    assert found.scalar_one() is user
    assert (user.name, where.scalar_one()) == ("changed", PRIMARY)
    assert stats().on_replicas == before.on_replicas
    session.rollback()
    assert scalars(session, STALE_WHERE) == [REPLICA]


@pytest.mark.usefixtures("replica")
@pytest.mark.parametrize(
    "statement",
    [
        select(literal(1)).with_for_update(),
        text("SELECT CONNECTION_ID()"),
        WHERE.execution_options(run_in_caller=True),
    ],
    ids=["FOR UPDATE", "of the connection", "run_in_caller"],
)
def test_what_stays_at_home_is_not_sent_to_a_replica(session: Session, statement: Any) -> None:
    before = stats()
    run_in_parallel([statement.execution_options(may_be_stale=True)], session=session)
    after = stats()
    assert sum(after.at_home.values()) == sum(before.at_home.values()) + 1
    assert after.on_replicas == before.on_replicas


# Who has written reads what was written


@pytest.fixture
def paused(servers: Replication, primary: Engine, make: Make) -> Iterator[None]:
    """A replica that lags, for all statements."""
    send_reads(primary, reads_on=make(REPLICA), all_may_be_stale=True)
    with servers.paused():
        yield


@pytest.mark.usefixtures("paused")
def test_a_session_reads_what_it_has_written(primary: Engine, session: Session) -> None:
    assert scalars(session, NAME) == [OLD]
    session.get_one(User, 1).name = "written"
    session.commit()
    assert scalars(session, NAME, NAME) == ["written", "written"]
    session.close()  # and begun anew it is still the same
    assert scalars(session, NAME) == ["written"]
    assert scalars(session, STALE_NAME) == [OLD]  # that was said of it
    with Session(primary) as another:
        assert scalars(another, NAME) == [OLD]


@pytest.mark.usefixtures("paused")
def test_a_request_reads_what_any_of_its_sessions_has_written(primary: Engine) -> None:
    with a_request():
        with Session(primary) as session:
            session.execute(update(User).where(User.id == 1).values(name="written"))
            session.commit()
        with Session(primary) as another:
            assert scalars(another, NAME, NAME) == ["written", "written"]
            assert scalars(another, STALE_NAME) == [OLD]
    with a_request(), Session(primary) as session:
        assert scalars(session, NAME) == [OLD]


@pytest.mark.usefixtures("paused")
def test_a_request_reads_what_it_has_written_without_a_session_and_in_a_task(
    primary: Engine,
) -> None:
    with a_request(), Session(primary) as session:
        rename(primary, "written")
        assert scalars(session, NAME) == ["written"]
    with a_request(), Session(primary) as session:
        run_in_parallel([partial(rename, primary, "in a task"), NAME], session=session)
        session.rollback()  # its own connection may have read beside the task, and sees that still
        assert scalars(session, NAME, NAME) == ["in a task", "in a task"]


@pytest.mark.usefixtures("paused")
def test_who_has_locked_rows_reads_the_primarys(primary: Engine, session: Session) -> None:
    rename(primary, "new")
    assert scalars(session, NAME) == [OLD]
    session.execute(select(User.id).where(User.id == 1).with_for_update())
    assert scalars(session, NAME) == ["new"]


@pytest.mark.usefixtures("paused")
def test_what_is_written_elsewhere_keeps_nobody_from_the_replica(
    make: Make, session: Session
) -> None:
    with a_request():
        rename(make(PRIMARY), "written")  # another engine: for all that is known, another database
        assert scalars(session, NAME) == [OLD]


# Connections


def test_a_session_that_asks_for_what_may_be_stale_takes_no_connection_of_the_primary(
    primary: Engine, replica: Engine, session: Session
) -> None:
    opened: list[object] = []
    event.listen(primary, "connect", lambda *given: opened.append(given[0]))
    assert scalars(session, *COUNTS) == RIGHT
    future = current_executor().submit(session.execute, COUNTS[0])
    assert future.result().scalar_one() == USERS
    assert not opened
    wait_until(lambda: replica.pool.checkedout() == 0)  # type: ignore[attr-defined]


def test_what_finds_no_connection_to_the_replica_is_run_by_its_caller_on_the_primary(
    replica: Engine, session: Session
) -> None:
    limit_connections(replica, 1)
    with replica.connect():
        assert scalars(session, STALE_WHERE, STALE_WHERE) == [PRIMARY, PRIMARY]
        assert scalars(session, STALE_WHERE, timeout=PATIENCE) == [PRIMARY]
        submitted = current_executor().submit(session.execute, STALE_WHERE)
        assert submitted.result().scalar_one() == PRIMARY
    assert scalars(session, STALE_WHERE) == [REPLICA]


class Peak:
    """The most connections of an engine that were checked out at a time."""

    def __init__(self, engine: Engine) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0
        event.listen(engine, "checkout", self._out)
        event.listen(engine, "checkin", self._in)

    def _out(self, *_: object) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def _in(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def test_many_requests_at_once_share_a_small_pool_of_the_replicas(make: Make) -> None:
    primary = make(PRIMARY, pool_size=4, max_overflow=12)
    replica = make(REPLICA, pool_size=2, max_overflow=0, pool_timeout=PATIENCE)
    send_reads(primary, reads_on=replica)
    peak, errors = Peak(replica), []
    before = stats()

    def ask() -> None:
        try:
            for _ in range(10):
                with a_request(), Session(primary) as session:
                    assert scalars(session, *COUNTS, *COUNTS) == RIGHT * 2
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not errors
    assert 1 <= peak.most <= 2
    assert stats().on_replicas > before.on_replicas
    wait_until(lambda: replica.pool.checkedout() == 0)  # type: ignore[attr-defined]
    assert primary.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_its_connections_have_the_options_of_the_sessions(primary: Engine, replica: Engine) -> None:
    isolation = text(
        "SELECT variable_value AS level FROM information_schema.session_variables "
        "WHERE variable_name = 'TX_ISOLATION'"
    ).execution_options(may_be_stale=True)
    executed = executed_on(replica)
    with Session(primary) as session:
        assert scalars(session, isolation) == ["REPEATABLE-READ"]
    with Session(primary.execution_options(isolation_level="READ COMMITTED")) as session:
        assert scalars(session, isolation) == ["READ-COMMITTED"]
    with Session(primary) as session:
        session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        assert scalars(session, isolation) == ["SERIALIZABLE"]
    assert len(executed) == 3


def test_its_connections_are_prepared_as_workers_are(replica: Engine, session: Session) -> None:
    prepared = []

    @prepare_connection
    def prepare(info: dict[Any, Any], connection: Any) -> None:
        prepared.append((info["tenant"], connection.engine))

    session.info["tenant"] = 7
    assert scalars(session, STALE_WHERE, STALE_WHERE) == [REPLICA, REPLICA]
    assert prepared == [(7, replica), (7, replica)]


def test_flask_sqlalchemys_binds(servers: Replication) -> None:
    app, db = Flask(__name__), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = servers.primary.url
    app.config["SQLALCHEMY_BINDS"] = {"replica": servers.replica.url}
    db.init_app(app)
    FlaskCommonPool(app)
    with app.app_context():
        engines = dict(db.engines)
        send_reads(db.engine, reads_on=db.engines["replica"])

    @app.get("/")
    def view() -> list[int]:
        return [one.scalar_one() for one in run_in_parallel([STALE_WHERE, WHERE, STALE_WHERE])]

    try:
        assert app.test_client().get("/").get_json() == [REPLICA, PRIMARY, REPLICA]
    finally:
        testing.reset()
        for engine in engines.values():
            wait_for_connections(engine)
            engine.dispose()


# Deadlines


# On the replica it sleeps; on the primary it is done at once.
HELD_ON_REPLICA = text(
    f"SELECT IF((SELECT variable_value FROM information_schema.global_variables "
    f"WHERE variable_name = 'SERVER_ID') = {REPLICA}, SLEEP({ENDLESS}), 7) AS n /* held */"
).execution_options(may_be_stale=True)


@pytest.mark.usefixtures("replica")
@pytest.mark.parametrize("others", [0, 2], ids=["alone", "with others"])
def test_a_deadline_stops_a_statement_in_the_replica(
    servers: Replication, session: Session, others: int
) -> None:
    before = stats()
    with pytest.raises(DeadlineExceeded):
        scalars(session, HELD_ON_REPLICA, *[STALE_WHERE] * others, timeout=0.5)
    wait_until(lambda: not servers.replica.runs("held"))
    assert servers.primary.runs("held") == 0
    wait_until(lambda: stats().stopped == before.stopped + 1)
    assert stats().cut_off == before.cut_off
    assert scalars(session, STALE_WHERE, STALE_WHERE) == [REPLICA, REPLICA]


# A replica that is away


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="commonpool")
    return caplog


def of_replica(log: pytest.LogCaptureFixture, engine: Engine) -> list[str]:
    """What was logged of a replica."""
    messages = [record.getMessage() for record in log.records]
    return [message for message in messages if repr(engine.url) in message]


def end_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the replicas that are away be asked again with the next statement."""
    for one in list(replicas.replicas.values()):
        monkeypatch.setattr(one, "_asked_again_at", 0.0)


@pytest.fixture
def killed(servers: Replication) -> Iterator[Callable[[], None]]:
    """Kills the replica, which is there again when the test has ended."""
    dead: list[bool] = []

    def kill() -> None:
        dead.append(True)
        servers.replica.kill()

    yield kill
    if dead and not servers.replica.lets_in():
        servers.replica.start()
    servers.catch_up()


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_a_replica_that_is_killed_under_its_statements_leaves_them_to_the_primary(
    *,
    servers: Replication,
    replica: Engine,
    session: Session,
    killed: Callable[[], None],
    log: pytest.LogCaptureFixture,
    timeout: float | None,
) -> None:
    before = stats()
    killer = threading.Thread(
        target=lambda: (wait_until(lambda: servers.replica.runs("held") == 3), killed())
    )
    killer.start()
    try:
        found = scalars(session, *[HELD_ON_REPLICA] * 3, timeout=timeout)
    finally:
        killer.join()
    assert found == [7, 7, 7]
    assert stats().replica_lost == before.replica_lost + 3
    assert scalars(session, STALE_WHERE, STALE_WHERE) == [PRIMARY, PRIMARY]
    lost, away = of_replica(log, replica)
    assert "has lost a connection" in lost
    assert "does not answer" in away


def test_a_dead_replica_is_asked_once_in_a_while_and_used_again_when_it_is_back(
    *,
    servers: Replication,
    primary: Engine,
    replica: Engine,
    killed: Callable[[], None],
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    event.listen(replica, "do_connect", lambda *given: asked.append(given))

    def ask() -> None:
        for _ in range(10):
            with a_request(), Session(primary) as session:
                assert scalars(session, STALE_WHERE, WHERE) == [PRIMARY, PRIMARY]

    killed()
    ask()
    first = len(asked)
    assert 1 <= first <= 2  # a worker's, and its caller's at the same time
    end_away(monkeypatch)
    ask()
    assert len(asked) == first + 1
    (away,) = of_replica(log, replica)
    assert "does not answer" in away

    servers.replica.start()
    with Session(primary) as session:
        assert scalars(session, STALE_WHERE) == [PRIMARY]  # nobody has asked it meanwhile
        end_away(monkeypatch)
        assert scalars(session, STALE_WHERE) == [REPLICA]
        assert scalars(session, STALE_WHERE, STALE_WHERE) == [REPLICA, REPLICA]
    assert "answers again" in of_replica(log, replica)[-1]


@pytest.mark.usefixtures("replica")
def test_many_requests_at_once_get_their_answers_while_the_replica_dies_and_comes_back(
    servers: Replication,
    primary: Engine,
    killed: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "AWAY", 0.3)
    gate, errors, rounds = Gate(), [], [0] * 8
    over = threading.Event()

    def ask(number: int) -> None:
        try:
            gate()
            while not over.is_set():
                with a_request(), Session(primary) as session:
                    assert scalars(session, *COUNTS) == RIGHT
                rounds[number] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(rounds))]
    for thread in threads:
        thread.start()

    def all_go_on() -> bool:
        seen = list(rounds)
        wait_until(lambda: errors or all(now > n + 2 for n, now in zip(seen, rounds, strict=True)))
        return not errors

    try:
        with gate:
            pass
        assert all_go_on(), errors
        killed()
        assert all_go_on(), errors
        servers.replica.start()
        assert all_go_on(), errors
        before = stats()
        wait_until(lambda: stats().on_replicas > before.on_replicas)
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not errors
    assert process.current_pool().stats().abandoned == 0


def test_a_frozen_replica_costs_a_deadline_and_is_not_asked_again_at_once(
    servers: Replication,
    replica: Engine,
    session: Session,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert scalars(session, *[STALE_WHERE] * 3, timeout=PATIENCE) == [REPLICA] * 3
    wait_until(lambda: replica.pool.checkedout() == 0)  # type: ignore[attr-defined]
    with servers.replica.frozen():
        with pytest.raises(DeadlineExceeded):
            scalars(session, STALE_WHERE, timeout=0.3)
        wait_until(lambda: of_replica(log, replica))
        session.rollback()
        assert scalars(session, STALE_WHERE, STALE_WHERE, timeout=PATIENCE) == [PRIMARY, PRIMARY]
    end_away(monkeypatch)
    replica.dispose()
    assert scalars(session, STALE_WHERE) == [REPLICA]
    assert scalars(session, STALE_WHERE, STALE_WHERE) == [REPLICA, REPLICA]


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_a_frozen_replica_that_is_to_be_connected_to_is_given_up_soon(
    servers: Replication, replica: Engine, session: Session, timeout: float | None
) -> None:
    with servers.replica.frozen():
        assert scalars(session, STALE_WHERE, WHERE, timeout=timeout) == [PRIMARY, PRIMARY]
        before = stats()
        assert scalars(session, STALE_WHERE, STALE_WHERE) == [PRIMARY, PRIMARY]
        assert stats().replica_away == before.replica_away + 2
    wait_until(lambda: replica.pool.checkedout() == 0)  # type: ignore[attr-defined]


def test_a_lost_connection_alone_is_no_dead_replica(
    servers: Replication, replica: Engine, session: Session, log: pytest.LogCaptureFixture
) -> None:
    assert scalars(session, STALE_WHERE) == [REPLICA]
    servers.replica.end_connections()
    assert scalars(session, STALE_WHERE) == [PRIMARY]
    assert scalars(session, STALE_WHERE, STALE_WHERE) == [REPLICA, REPLICA]
    (lost,) = of_replica(log, replica)
    assert "has lost a connection" in lost


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_what_the_replica_says_of_a_statement_is_the_answer(
    servers: Replication,
    primary: Engine,
    replica: Engine,
    session: Session,
    timeout: float | None,
) -> None:
    with servers.paused():
        with primary.begin() as connection:
            connection.execute(text("CREATE TABLE not_there_yet (n INTEGER)"))
        try:
            counted = text("SELECT count(*) FROM not_there_yet")
            stale = counted.execution_options(may_be_stale=True)
            of_replica = executed_on(replica)
            with pytest.raises(ProgrammingError, match="not_there_yet"):
                scalars(session, stale, timeout=timeout)
            assert len(of_replica) == 1
            assert scalars(session, counted) == [0]
            session.rollback()
        finally:
            with primary.begin() as connection:
                connection.execute(text("DROP TABLE not_there_yet"))


@pytest.mark.usefixtures("replica")
def test_an_error_of_the_primarys_after_the_replicas_is_told(
    session: Session, killed: Callable[[], None]
) -> None:
    killed()
    wrong = text("SELECT n FROM nowhere").execution_options(may_be_stale=True)
    with pytest.raises(DBAPIError, match="nowhere"):
        scalars(session, wrong)


def test_what_a_replica_has_let_down_waits_for_the_primary_alone(
    primary: Engine, replica: Engine, session: Session
) -> None:
    of_primary, of_replica = budget_of(primary), budget_of(replica)
    limit_connections(primary, 2)  # of which the session has one in the end
    limit_connections(replica, 1)
    held = [of_primary.take(at_any_rate=True) for _ in range(2)]
    refused = []

    @event.listens_for(replica, "do_connect")
    def refuse(*_: object) -> None:
        refused.append(of_replica.take(at_any_rate=True))
        raise ConnectionRefusedError("not now")

    def free_the_primary() -> None:
        wait_until(lambda: process.current_pool().are_waiting_for(of_primary))
        for share in held:
            assert share is not None
            share.give_back()

    before = stats()
    thread = threading.Thread(target=free_the_primary)
    thread.start()
    # the caller is busy with the second, on its session's own connection
    assert scalars(session, STALE_WHERE, select(func.sleep(2))) == [PRIMARY, 0]
    thread.join()
    (share,) = refused
    assert share is not None
    share.give_back()
    assert stats().on_workers == before.on_workers + 1
    assert stats().put_off <= before.put_off + 2  # it is no busy wait


# What is refused


@pytest.mark.parametrize(
    ("engine", "reads_on", "message"),
    [
        ("sqlite:///a.db", "postgresql+psycopg://a/b", "sqlite.pysqlite.* has postgresql.psycopg"),
        ("mysql+mysqldb://a/b", "mysql+pymysql://a/b", "mysqldb.* has mysql.pymysql"),
        ("mysql+mysqldb://a/b", "mariadb+mysqldb://a/b", "mysql.mysqldb.* has mariadb.mysqldb"),
        ("sqlite:///a.db", "sqlite://", "one connection alone"),
    ],
)
def test_an_engine_that_cannot_serve_anothers_reads_is_refused(
    engine: str, reads_on: str, message: str
) -> None:
    for url in (engine, reads_on):
        pytest.importorskip({"mysql+mysqldb": "MySQLdb"}.get(make_url(url).drivername, "sqlite3"))
        if "psycopg" in url:
            pytest.importorskip("psycopg")
        if "pymysql" in url:
            pytest.importorskip("pymysql")
    with pytest.raises(ValueError, match=message):
        send_reads(create_engine(engine), reads_on=create_engine(reads_on))


def test_another_style_of_parameters_is_refused() -> None:
    one = create_engine("sqlite:///a.db")
    other = create_engine("sqlite:///b.db", paramstyle="named")
    with pytest.raises(ValueError, match=r"paramstyle qmark.*paramstyle named"):
        send_reads(one, reads_on=other)


def test_an_engine_with_a_password_is_shown_without_it_where_it_is_refused() -> None:
    pytest.importorskip("pymysql")
    other = create_engine("mysql+pymysql://me:secret@replica/data")
    with pytest.raises(ValueError, match="replica") as refused:
        send_reads(create_engine("sqlite:///a.db"), reads_on=other)
    assert "secret" not in str(refused.value)


def test_the_primary_itself_is_refused() -> None:
    engine = create_engine("sqlite:///a.db")
    with pytest.raises(ValueError, match="the primary's own engine"):
        send_reads(engine, reads_on=engine)
    with pytest.raises(ValueError, match="the primary's own engine"):
        send_reads(engine, reads_on=engine.execution_options(logging_token="x"))


def test_a_pool_of_one_connection_is_refused() -> None:
    with pytest.raises(ValueError, match="StaticPool"):
        send_reads(
            create_engine("sqlite:///a.db"),
            reads_on=create_engine("sqlite:///b.db", poolclass=StaticPool),
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": None}, "engine must be an Engine, not None"),
        ({"reads_on": "sqlite:///b.db"}, "reads_on must be an Engine, not 'sqlite:///b.db'"),
        ({"all_may_be_stale": "no"}, "all_may_be_stale must be True or False, not 'no'"),
    ],
)
def test_what_is_no_engine_is_refused(arguments: dict[str, Any], message: str) -> None:
    one, other = create_engine("sqlite:///a.db"), create_engine("sqlite:///b.db")
    with pytest.raises(TypeError, match=message):
        send_reads(**{"engine": one, "reads_on": other, **arguments})
