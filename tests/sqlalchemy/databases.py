"""The databases that the tests run on, and what they are asked beside the tests' statements."""

from __future__ import annotations

import importlib.util
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    Select,
    create_engine,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from commonpool import testing
from tests.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

DRIVERS = {
    "sqlite": "sqlite3",
    "mariadb-mysqlclient": "MySQLdb",
    "mariadb-pymysql": "pymysql",
    "postgresql-psycopg": "psycopg",
}
"""All of them, with the module that each needs. The family is what precedes the hyphen."""

ENDLESS = 30
"""Seconds after which an endless statement ends nevertheless, so that a test that fails to stop
one does not run until it is killed."""

_NUMBERS = 300_000_000  # SQLite counts ten million in a second, or a bit fewer

_NO_SUCH_THREAD = 1094  # MariaDB's answer where the connection has ended meanwhile

_RUNNING = {
    "mariadb": "SELECT info FROM information_schema.processlist"
    " WHERE id <> CONNECTION_ID() AND db = DATABASE() AND command <> 'Sleep' AND info IS NOT NULL",
    "postgresql": "SELECT query FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database() AND state = 'active'"
    " AND backend_type = 'client backend'",
}
_OTHERS = {
    "mariadb": "SELECT id FROM information_schema.processlist"
    " WHERE id <> CONNECTION_ID() AND db = DATABASE()",
    "postgresql": "SELECT pid FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    " AND backend_type = 'client backend'",
}


@dataclass(frozen=True)
class Database:
    """One of them, with the tables of `tests.sqlalchemy.models` in it, for one test."""

    name: str
    url: str
    family: str
    cleanup: ExitStack = field(repr=False, compare=False)  # closed when the test has ended

    @property
    def has_server(self) -> bool:
        """Whether statements run in a process of their own, which can be asked for them."""
        return self.family in _RUNNING

    def make_engine(self, **options: Any) -> Engine:
        """Return an engine; the options are `create_engine`'s. It is disposed at the test's end."""
        engine = create_engine(self.url, **options)
        if self.family == "sqlite":
            event.listen(engine, "connect", _teach_to_sleep)
        self.cleanup.callback(engine.dispose)
        # before: no worker gives a connection back later, nor one that it was still opening
        self.cleanup.callback(wait_for_connections, engine)
        self.cleanup.callback(testing.reset)
        return engine

    def sleep(self, seconds: float) -> Select[Any]:
        """Return a statement of one row that takes so long. SQLite's cannot be interrupted."""
        if self.family == "postgresql":
            return select(func.pg_sleep(seconds).label("slept"))
        return select(func.sleep(seconds).label("slept"))

    def endless(self, mark: str = "endless") -> Select[Any]:
        """Return a statement that runs until it is stopped: by KILL QUERY, cancel, or interrupt.

        Args:
            mark: a comment in it, by which `statements_running` shows which one it is.
        """
        if self.has_server:
            return self.sleep(ENDLESS).suffix_with(f"/* {mark} */")
        numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < _NUMBERS))
        return select(func.count()).select_from(numbers).suffix_with(f"/* {mark} */")

    def statements_running(self) -> list[str]:
        """Return the texts of the statements that run in the server now, this one not among them.

        Raises:
            TypeError: SQLite has no server.
        """
        if not self.has_server:
            raise TypeError(f"{self.name} has no server that could be asked")
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            return list(connection.scalars(text(_RUNNING[self.family])))


def chosen(names: Collection[str]) -> list[str]:
    """Return the names of the databases that ``names`` mean: names, families, or none for all.

    Raises:
        ValueError: a name that means nothing.
    """
    for name in names:
        if not any(name in (other, family(other)) for other in DRIVERS):
            raise ValueError(f"no such database: {name!r}; there are {', '.join(DRIVERS)}")
    return [name for name in DRIVERS if not names or name in names or family(name) in names]


def wanted(names: Collection[str], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return those that ``names`` mean, less what ``TEST_DATABASES``, if there is one, leaves out.

    Raises:
        ValueError: a name that means nothing.
    """
    among = chosen(environ.get("TEST_DATABASES", "").split())
    return [name for name in chosen(names) if name in among]


def family(name: str) -> str:
    """Return what a database is, whatever the driver."""
    return name.partition("-")[0]


def required(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the databases of which nothing may be missing; the others are then skipped.

    They are those that ``REQUIRED_DATABASES`` names, else all in CI, else none.

    Raises:
        ValueError: a name that means nothing.
    """
    names = environ.get("REQUIRED_DATABASES", "").split()
    return chosen(names) if names or environ.get("CI") else []


def missing_driver(name: str) -> str | None:
    """Return the module that a database needs and that is not installed."""
    return None if importlib.util.find_spec(DRIVERS[name]) else DRIVERS[name]


def end_other_connections(connection: Connection) -> None:
    """End all connections to the server but this one, with what runs and what is locked there."""
    system = connection.dialect.name
    others = connection.scalars(text(_OTHERS["mariadb" if system == "mysql" else system])).all()
    for other in others:
        if system == "postgresql":
            connection.execute(select(func.pg_terminate_backend(other)))
        else:
            try:
                connection.execute(text(f"KILL {other}"))
            except DBAPIError as error:
                if error.orig is None or error.orig.args[0] != _NO_SUCH_THREAD:
                    raise


def _teach_to_sleep(connection: Any, _record: object) -> None:
    connection.create_function("sleep", 1, _sleep)


def _sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 0


def wait_for_connections(engine: Engine) -> None:
    """Wait until workers have given an engine's connections back, for three seconds at most."""
    checked_out = getattr(engine.pool, "checkedout", int)
    with suppress(AssertionError):  # the test has kept one itself
        wait_until(lambda: checked_out() == 0, limit=3)
