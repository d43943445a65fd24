"""The fixtures themselves: each database answers, is fresh for each test, can be looked into."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, QueuePool, func, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from tests.helpers import wait_until
from tests.sqlalchemy import models
from tests.sqlalchemy.databases import (
    DRIVERS,
    ENDLESS,
    Database,
    chosen,
    end_other_connections,
    required,
)
from tests.sqlalchemy.models import Employee, Item, Manager, Order, Tag, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CREATED = models.ROWS["users"][0]["created"]
SERVERS = ("mariadb", "postgresql")


class Statement:
    """A statement on a thread and a connection of its own, and how it ended."""

    def __init__(self, engine: Engine, statement: Any) -> None:
        self._engine, self._statement = engine, statement
        self.started = threading.Event()
        self.error: BaseException | None = None
        self.id: Any = None  # by which its server knows the connection
        self.driver_connection: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._engine.connect() as connection:
                self.driver_connection = connection.connection.driver_connection
                if ask := {
                    "mysql": "SELECT CONNECTION_ID()",
                    "postgresql": "SELECT pg_backend_pid()",
                }.get(self._engine.dialect.name):
                    self.id = connection.scalar(text(ask))
                self.started.set()
                connection.execute(self._statement).all()
        except BaseException as error:
            self.error = error

    def stop(self, admin: Engine) -> None:
        """Stop it, again and again until it has ended: it may not have begun yet."""
        assert self.started.wait(30)
        wait_until(lambda: not self._thread.is_alive() or self._tell(admin), limit=20)
        self.join()

    def join(self) -> None:
        self._thread.join(ENDLESS * 2)
        assert not self._thread.is_alive()

    def _tell(self, admin: Engine) -> None:
        if admin.dialect.name == "sqlite":
            self.driver_connection.interrupt()
            self._thread.join(0.05)
            return
        with admin.connect() as connection:
            if admin.dialect.name == "mysql":
                connection.execute(text(f"KILL QUERY {self.id}"))
            else:
                connection.execute(select(func.pg_cancel_backend(self.id)))
        self._thread.join(0.05)


@pytest.fixture
def endless(database: Database) -> Iterator[Statement]:
    """A statement that runs until it is stopped, at the latest when the test ends."""
    statement = Statement(database.make_engine(), database.endless("the endless one"))
    yield statement
    statement.stop(database.make_engine())


def count(session: Session, what: Any = User) -> int | None:
    return session.scalar(select(func.count()).select_from(what))


def get(session: Session, what: type[Any], identity: int) -> Any:
    found = session.get(what, identity)  # get_one() is there since 2.0.22
    assert found is not None
    return found


def test_the_database_is_the_one_that_its_name_says(database: Database, session: Session) -> None:
    dialect = session.get_bind().dialect
    asked = "sqlite_version()" if database.family == "sqlite" else "version()"
    version = session.scalar(text(f"SELECT {asked}"))
    assert {
        "sqlite": version[0] == "3",
        "mariadb": "MariaDB" in version,
        "postgresql": version.startswith("PostgreSQL"),
    }[database.family]
    driver = {"pysqlite": "", "mysqldb": "-mysqlclient"}.get(dialect.driver, f"-{dialect.driver}")
    assert database.name == f"{database.family}{driver}"


@pytest.mark.parametrize("_round", [1, 2])
def test_each_test_finds_the_rows_as_they_were_made(session: Session, _round: int) -> None:
    assert count(session) == models.USERS
    assert get(session, User, 1).name == "User 01"
    session.execute(update(User).values(name="changed"))
    session.add(User(name="new", active=True, created=CREATED, labels=(), biography=""))
    session.commit()
    assert count(session) == models.USERS + 1
    assert session.scalars(select(User.id).where(User.name == "new")).one() > models.USERS


@pytest.mark.databases(*SERVERS)
@pytest.mark.parametrize("_round", [1, 2])
def test_what_a_test_leaves_locked_does_not_hold_up_the_next(
    database: Database, _round: int
) -> None:
    session = Session(database.make_engine())
    session.execute(update(User).values(name="never committed"))
    database.cleanup.callback(session.invalidate)  # later than the engine's end


@pytest.mark.databases(*SERVERS)
def test_ending_the_other_connections_ends_them(database: Database) -> None:
    held = database.make_engine().connect()
    held.execute(text("SELECT 1"))
    with database.make_engine().connect() as connection:
        end_other_connections(connection)
        assert connection.scalar(text("SELECT 1")) == 1
    with pytest.raises(DBAPIError) as caught:
        held.execute(text("SELECT 1"))
    assert caught.value.connection_invalidated
    held.invalidate()
    held.close()


def test_the_rows_come_back_as_what_they_were(session: Session) -> None:
    for table in models.TABLES:
        found = session.execute(select(table).order_by(*table.primary_key)).mappings().all()
        assert [dict(row) for row in found] == models.ROWS[table.name]


def test_the_models_are_what_they_say(session: Session) -> None:
    user = get(session, User, 7)
    assert user.labels == ("a", "b", "c")
    assert user.data == bytes(range(7)) + b"\x00'\"\\\xff"
    assert "biography" in inspect(user).unloaded
    assert user.biography.startswith("The life of user 7, été 夏.")
    order = get(session, Order, 1)
    assert order.total == Decimal("1.25")
    assert order.user.id == 8
    assert order in order.user.orders
    assert order.items
    assert all(isinstance(item, Item) for item in order.items)
    assert [tag.id for tag in order.tags] == [2]
    assert order in get(session, Tag, 2).orders
    assert get(session, Order, 4).tags == []
    assert get(session, User, models.USERS).orders == []


def test_each_employee_is_of_their_class(session: Session) -> None:
    employees = session.scalars(select(Employee).order_by(Employee.id)).all()
    assert len(employees) == models.EMPLOYEES
    assert [employee.id for employee in employees if isinstance(employee, Manager)] == [3, 6, 9, 12]
    assert get(session, Employee, 6).department == "Department 2"


def test_an_order_changed_by_somebody_else_is_noticed(session: Session) -> None:
    order = get(session, Order, 1)
    session.execute(
        update(Order).where(Order.id == 1).values(version=2),
        execution_options={"synchronize_session": False},
    )
    order.open = not order.open
    with pytest.raises(StaleDataError):
        session.flush()


def test_an_engine_has_a_pool_whose_connections_any_thread_may_use(engine: Engine) -> None:
    assert isinstance(engine.pool, QueuePool)
    statement = Statement(engine, select(func.count()).select_from(User))
    statement.join()
    assert statement.error is None
    with engine.connect() as connection:
        # The one that the other thread has opened and given back.
        assert connection.connection.driver_connection is statement.driver_connection
        assert connection.scalar(select(func.count()).select_from(User)) == models.USERS


def test_an_engine_takes_options(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
    assert engine.pool.size() == 1  # type: ignore[attr-defined]


def test_sleeping_takes_its_time(database: Database, session: Session) -> None:
    session.connection()
    started = time.monotonic()
    assert len(session.execute(database.sleep(0.1)).all()) == 1
    assert time.monotonic() - started >= 0.09


@pytest.mark.databases(*SERVERS)
def test_an_endless_statement_is_seen_in_the_server_until_it_is_stopped(
    database: Database, endless: Statement, engine: Engine
) -> None:
    wait_until(lambda: len(database.statements_running()) == 1)
    (running,) = database.statements_running()
    assert "the endless one" in running
    assert "sleep" in running.lower()
    endless.stop(engine)
    wait_until(lambda: database.statements_running() == [])


def test_an_endless_statement_that_is_stopped_is_an_error(
    endless: Statement, engine: Engine
) -> None:
    endless.stop(engine)
    assert isinstance(endless.error, DBAPIError)
    assert not endless.error.connection_invalidated


@pytest.mark.databases("sqlite")
def test_sqlite_has_no_server_to_ask(database: Database) -> None:
    assert database.name == "sqlite"
    assert not database.has_server
    with pytest.raises(TypeError, match="sqlite has no server"):
        database.statements_running()


@pytest.mark.parametrize(
    ("names", "means"),
    [
        ((), list(DRIVERS)),
        (("mariadb",), ["mariadb-mysqlclient", "mariadb-pymysql"]),
        (("postgresql-psycopg", "sqlite"), ["sqlite", "postgresql-psycopg"]),
    ],
)
def test_databases_are_chosen_by_name_or_family(names: tuple[str, ...], means: list[str]) -> None:
    assert chosen(names) == means


def test_a_database_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such database: 'oracle'; there are sqlite, "):
        chosen(("sqlite", "oracle"))


@pytest.mark.parametrize(
    ("environ", "means"),
    [
        ({}, []),
        ({"CI": "true"}, list(DRIVERS)),
        ({"CI": "true", "REQUIRED_DATABASES": "sqlite"}, ["sqlite"]),
        ({"REQUIRED_DATABASES": "sqlite postgresql"}, ["sqlite", "postgresql-psycopg"]),
    ],
)
def test_nothing_may_be_missing_in_ci(environ: dict[str, str], means: list[str]) -> None:
    assert required(environ) == means
