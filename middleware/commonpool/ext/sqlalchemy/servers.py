"""How each kind of database is told to stop a statement, and how it says that it did."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from commonpool.ext.sqlalchemy.blocking import caller_for
from commonpool.ext.sqlalchemy.limits import mariadb_limited, mysql_limited
from commonpool.ext.sqlalchemy.sockets import Descriptor
from commonpool.ext.sqlalchemy.spare import ANSWER_WITHIN, Later, Spare
from commonpool.ext.sqlalchemy.stop_queue import StopQueue

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Pool
    from sqlalchemy.engine import ExecutionContext


# No number of rows: an unsigned -1 is above it.
MOST_ROWS = 1 << 62


class Server:
    """The database behind an engine. This one is of a kind that cannot be told to stop.

    Attributes:
        can_stop: whether `stop` does anything.
        stops: the thread on which `stop` is called: one for each server, so that one which does
            not answer holds up no other.
    """

    can_stop = False

    def __init__(self) -> None:
        self.stops = StopQueue()

    def prepare(self, pool: Pool) -> None:
        """Have ready what `stop` will need. On the thread that is about to execute."""

    def key_of(self, connection: Any) -> Any:
        """What the server calls a DBAPI connection, asked for on the connection's own thread."""

    def stop(
        self, connection: Any, key: Any, *, pool: Pool, socket: Descriptor | None, later: Later
    ) -> None:
        """Stop what runs on a DBAPI connection; on return it is sure that it comes no later.

        Called on a thread that is not the connection's own.

        Args:
            connection: the DBAPI connection.
            key: what `key_of` said.
            pool: the engine's.
            socket: the connection's.
            later: has something done in so many seconds.

        Raises:
            Exception: it is not known whether it was stopped.
        """

    def limited(self, statement: str, seconds: float) -> str:
        """The statement's text with a limit in it, where the database has that."""
        del seconds
        return statement

    def has_rows(self, context: ExecutionContext) -> bool:
        """Whether all rows of a statement are in the client's memory once it was executed."""
        del context
        return False

    def was_stopped(self, error: BaseException) -> bool:
        """Whether a DBAPI error says that the statement was stopped as `stop` does it."""
        del error
        return False

    def ran_too_long(self, error: BaseException) -> bool:
        """Whether a DBAPI error says that the server's own limit was reached."""
        del error
        return False

    def close(self) -> None:
        """Give up what `prepare` has made; it may be made again."""

    def disown(self) -> None:
        """Leave what was made to the process that this one was forked from."""


class MariaDB(Server):
    """MariaDB and MySQL, through mysqlclient or PyMySQL."""

    can_stop = True

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        is_mariadb = getattr(dialect, "is_mariadb", False)
        self._limited = mariadb_limited if is_mariadb else mysql_limited
        self._spare = Spare(caller_for(dialect))

    def prepare(self, pool: Pool) -> None:
        """Open the spare connection."""
        self._spare.open(pool)

    def limited(self, statement: str, seconds: float) -> str:
        """With `max_statement_time` or `MAX_EXECUTION_TIME`."""
        return self._limited(statement, seconds)

    def key_of(self, connection: Any) -> Any:
        """Its thread's number."""
        return connection.thread_id()  # known to the client: nothing is asked of the server

    def stop(
        self, connection: Any, key: Any, *, pool: Pool, socket: Descriptor | None, later: Later
    ) -> None:
        """By KILL QUERY, over a spare connection."""
        del connection
        peer = None if socket is None else socket.peer()
        self._spare.execute(pool, f"KILL QUERY {int(key)}", peer=peer, later=later)

    def has_rows(self, context: ExecutionContext) -> bool:
        """Unless they are streamed."""
        return knows_how_many(context)

    def was_stopped(self, error: BaseException) -> bool:
        """ER_QUERY_INTERRUPTED."""
        return error.args[:1] == (1317,)

    def ran_too_long(self, error: BaseException) -> bool:
        """MariaDB's ER_STATEMENT_TIMEOUT, MySQL's ER_QUERY_TIMEOUT."""
        return error.args[:1] in {(1969,), (3024,)}

    def close(self) -> None:
        """Close the spare connection."""
        self._spare.close()

    def disown(self) -> None:
        """Leave the spare connection alone."""
        self._spare.disown()


class PostgreSQL(Server):
    """PostgreSQL, through psycopg or psycopg2."""

    can_stop = True

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self._call = caller_for(dialect)

    def stop(
        self, connection: Any, key: Any, *, pool: Pool, socket: Descriptor | None, later: Later
    ) -> None:
        """By the protocol's own request, over a connection that the server does not count."""
        del key, pool, socket, later
        cancel_safe = getattr(connection, "cancel_safe", None)
        if cancel_safe is None:
            self._call(connection.cancel)
        else:
            self._call(partial(cancel_safe, timeout=ANSWER_WITHIN))

    def has_rows(self, context: ExecutionContext) -> bool:
        """Unless they are streamed."""
        return knows_how_many(context)

    def was_stopped(self, error: BaseException) -> bool:
        """query_canceled, of which `statement_timeout` is a case: its text alone says so."""
        return getattr(error, "sqlstate", None) == "57014" or (
            getattr(error, "pgcode", None) == "57014"
        )


class SQLite(Server):
    """SQLite, through the standard library's module."""

    can_stop = True

    def stop(
        self, connection: Any, key: Any, *, pool: Pool, socket: Descriptor | None, later: Later
    ) -> None:
        """By a flag that the statement looks at."""
        del key, pool, socket, later
        connection.interrupt()

    def was_stopped(self, error: BaseException) -> bool:
        """SQLITE_INTERRUPT."""
        return getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT"


def knows_how_many(context: ExecutionContext) -> bool:
    """Whether a driver that fetches all rows at once, unless told otherwise, has them all."""
    # a driver that has not says -1, or what that is without a sign
    return (
        not context.execution_options.get("stream_results")
        and 0 <= context.cursor.rowcount < MOST_ROWS
    )


def new_server(dialect: Dialect) -> Server:
    """The kind of server that a dialect and its driver talk to."""
    if getattr(dialect, "is_async", False):
        return Server()
    kind = kinds.get((dialect.name, dialect.driver))
    return Server() if kind is None else kind(dialect)


kinds: dict[tuple[str, str], Callable[[Dialect], Server]] = {
    ("mysql", "mysqldb"): MariaDB,
    ("mysql", "pymysql"): MariaDB,
    ("mariadb", "mysqldb"): MariaDB,
    ("mariadb", "pymysql"): MariaDB,
    ("postgresql", "psycopg"): PostgreSQL,
    ("postgresql", "psycopg2"): PostgreSQL,
    ("sqlite", "pysqlite"): lambda _: SQLite(),
}
"""Who can be told to stop, by the names of the dialect and of its driver."""


class _Servers:
    """The servers that this process talks to, one for each dialect (and so for each engine)."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_dialect: weakref.WeakKeyDictionary[Dialect, Server] = weakref.WeakKeyDictionary()

    def add(self, dialect: Dialect) -> Server:
        with self.lock:
            server = self.by_dialect.get(dialect)
            if server is None:
                server = self.by_dialect[dialect] = new_server(dialect)
            return server


_processes: dict[int, _Servers] = {}
"""By process id: what a fork inherits is its parent's."""


def server_of(connection: Connection) -> Server:
    """The server that a connection's engine talks to, as this process knows it."""
    servers = _processes.get(os.getpid()) or _in_a_new_process()
    dialect = connection.dialect
    return servers.by_dialect.get(dialect) or servers.add(dialect)


def close_server(dialect: Dialect) -> None:
    """Give up what was made to stop statements on the connections of a dialect's engine."""
    servers = _processes.get(os.getpid())
    server = None if servers is None else servers.by_dialect.get(dialect)
    if server is not None:
        server.close()


def _in_a_new_process() -> _Servers:
    pid = os.getpid()
    # one step: of two threads that come at once, both get the same
    servers = _processes.setdefault(pid, _Servers())
    for other in [pid_ for pid_ in _processes if pid_ != pid]:
        inherited = _processes.pop(other, None)
        for server in [] if inherited is None else list(inherited.by_dialect.values()):
            server.disown()
    return servers
