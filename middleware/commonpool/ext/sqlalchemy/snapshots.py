"""Snapshots: all statements of a fan-out see one state of the database (PostgreSQL)."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from commonpool.ext.sqlalchemy.engines import arithmetic
from commonpool.ext.sqlalchemy.sessions import LEAVES_NOTHING, own_connection, prepare_for
from commonpool.task import FanOut

SHARED = "shared"
ENOUGH = ("REPEATABLE READ", "SERIALIZABLE")  # isolation levels that keep one snapshot


class SharedSnapshot:
    """One state of the database, for connections that import it (``pg_export_snapshot``).

    It is exported by the session's own transaction where that keeps one snapshot anyway; else by
    a transaction of its own, on one more connection, where the caller's statements run, too.

    Args:
        session: whose statements they are.
        engine: where they are executed.
        options: the execution options that they need of a connection.
        same_as: the snapshot that another session of the fan-out has exported.

    Raises:
        ValueError: the database cannot share snapshots between connections.
        sqlalchemy.exc.TimeoutError: there was no connection for it.
    """

    def __init__(
        self,
        session: Session,
        engine: Engine,
        options: dict[str, Any],
        same_as: SharedSnapshot | None = None,
    ) -> None:
        check_can_share(engine)
        self._to_close: Connection | None = None
        own = own_connection(session, engine)
        if same_as is None and own is not None and own.get_isolation_level() in ENOUGH:
            self.connection = own
        else:
            try:
                connection = engine.connect()
            except Exception as error:
                error.add_note(
                    "snapshot='shared' needs one more connection than the session's own: "
                    f"{arithmetic(engine)}"
                )
                raise
            self.connection = self._to_close = connection.execution_options(
                **{**options, "isolation_level": "REPEATABLE READ"}
            )
        try:
            if same_as is not None:
                same_as.take_on(self.connection)
            self._name = self.connection.execute(
                text("SELECT pg_export_snapshot()"),
                execution_options={"stream_results": False, LEAVES_NOTHING: True},
            ).scalar_one()
            if self._to_close is not None:
                prepare_for(session.info, self._to_close)
        except BaseException:
            self.close()
            raise

    def take_on(self, connection: Connection) -> None:
        """Have the transaction of a worker's new connection see this snapshot; it comes first."""
        # The name is the server's own, of hexadecimal digits and dashes; it takes no parameters.
        connection.exec_driver_sql(
            f"SET TRANSACTION SNAPSHOT '{self._name}'", execution_options={"stream_results": False}
        )

    def close(self) -> None:
        """End the transaction that exports it. Doing it again changes nothing."""
        connection, self._to_close = self._to_close, None
        if connection is not None:
            connection.close()


_snapshots: WeakKeyDictionary[FanOut, dict[Engine, dict[Session, SharedSnapshot]]] = (
    WeakKeyDictionary()
)


def snapshot_of(
    fan_out: FanOut, session: Session, engine: Engine, options: dict[str, Any]
) -> SharedSnapshot:
    """The snapshot that a fan-out shares, exported now if it was not yet."""
    by_session = _snapshots.setdefault(fan_out, {}).setdefault(engine, {})
    if session not in by_session:
        first = next(iter(by_session.values()), None)
        by_session[session] = SharedSnapshot(session, engine, options, first)
    return by_session[session]


def close_snapshots(fan_out: FanOut) -> None:
    """The fan-out is over."""
    for by_session in _snapshots.pop(fan_out, {}).values():
        for snapshot in by_session.values():
            snapshot.close()


def check_can_share(engine: Engine) -> None:
    """Raise `ValueError` where a database cannot share a snapshot between connections."""
    name = engine.dialect.name
    if name == "postgresql":
        return
    why = {
        "mysql": "MySQL and MariaDB cannot share a snapshot between connections",
        "mariadb": "MySQL and MariaDB cannot share a snapshot between connections",
        "sqlite": "SQLite cannot share a snapshot between connections in a way that drivers offer",
    }.get(name, f"commonpool knows no way to share a snapshot between connections of {name}")
    raise ValueError(
        f"snapshot='shared' is for PostgreSQL: {why}. Statements that have to see one state run "
        "one after another in a session with the isolation level REPEATABLE READ."
    )
