"""Where a load goes: built beside what is there, and put in its place in one step.

A target gives a connection and tables to fill. Whatever happens before the last step, a kill
included, leaves what was there before as it was, and leavings that the next load removes.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, MetaData, NullPool, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from stack.data.errors import DataError
from stack.data.models import Base
from stack.data.urls import database_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import URL, Engine, Table

_LOCK_POLL_SECONDS = 1


class Target(Protocol):
    """A database to load into."""

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep every other load of this database out; call ``waiting`` once if one is at work."""

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """Give a connection to what is there; ``None`` if there is nothing yet."""

    @contextmanager
    def building(self) -> Iterator[tuple[Connection, Mapping[str, Table]]]:
        """Give a connection and the tables to create and fill, by the names that they will have.

        Leaving it without an error publishes them.
        """


def target_for(url: URL) -> Target:
    """Return the target that ``url`` (from ``parse_database_url``) names."""
    if url.get_backend_name() == "sqlite":
        return SQLiteTarget(url)
    return MariaDBTarget(url)


class SQLiteTarget:
    """A SQLite file: built in a second file, which is renamed over the first.

    The application opens the file for reading only, so it never has a journal of its own that
    would be taken for the new file's. Readers of the old file keep it until they close it.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._file = database_file(url)
        self._partial = self._file.with_name(f"{self._file.name}.loading")
        self._lock = self._file.with_name(f"{self._file.name}.lock")

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold a lock on a file beside the database; the kernel frees it however we end."""
        if self._file.is_dir():
            raise DataError(f"{self._file} is a folder; name a file in it")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._remove_partial()  # of a load that was killed
            yield

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """Open the file that is there."""
        if not self._file.exists():
            yield None
            return
        with _connection(self._url) as connection:
            yield connection

    @contextmanager
    def building(self) -> Iterator[tuple[Connection, Mapping[str, Table]]]:
        """Fill a new file, and rename it when all of it is on the disk."""
        try:
            with _connection(self._url.set(database=str(self._partial))) as connection:
                # No journal and no syncing: the file is thrown away if anything goes wrong.
                connection.exec_driver_sql("PRAGMA journal_mode = OFF")
                connection.exec_driver_sql("PRAGMA synchronous = OFF")
                yield connection, Base.metadata.tables
                connection.exec_driver_sql("ANALYZE")
                connection.commit()
            _sync(self._partial)
            self._partial.replace(self._file)
            _sync(self._file.parent)
        finally:
            self._remove_partial()

    def _remove_partial(self) -> None:
        self._partial.unlink(missing_ok=True)


class MariaDBTarget:
    """A MariaDB database: built in tables with a prefix, which one statement renames.

    All of it goes through one connection, which also holds the lock: a load that was killed
    keeps the lock for as long as the server still works on its last statement.
    """

    _PREFIX = "loading_"
    _OLD = "old_"

    def __init__(self, url: URL) -> None:
        self._url = url
        self._connection: Connection | None = None

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold a lock of the server, named after the database; it goes with the connection."""
        with _connection(self._url) as connection:
            self._connection = connection
            take = text("SELECT GET_LOCK(CONCAT('stack-load:', SHA1(DATABASE())), :seconds)")
            if not connection.scalar(take, {"seconds": 0}):
                waiting()
                # In short waits, since the driver does not hear Ctrl-C within a statement.
                while not connection.scalar(take, {"seconds": _LOCK_POLL_SECONDS}):
                    pass
            self._drop_leavings(connection)  # of a load that was killed
            connection.rollback()
            yield

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """Give the connection that holds the lock."""
        yield self._held()

    @contextmanager
    def building(self) -> Iterator[tuple[Connection, Mapping[str, Table]]]:
        """Fill tables beside the others, and change their names all at once."""
        connection = self._held()
        staged = MetaData()
        tables = {
            name: table.to_metadata(staged, name=self._PREFIX + name)
            for name, table in Base.metadata.tables.items()
        }
        try:
            yield connection, tables
            connection.commit()
            self._publish(connection)
        except BaseException:
            with suppress(SQLAlchemyError):  # the next load removes them too
                connection.rollback()
                self._drop_leavings(connection)
            raise
        self._drop_leavings(connection)

    def _held(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the target is used without its lock: enter locked() first")
        return self._connection

    def _publish(self, connection: Connection) -> None:
        present = set(inspect(connection).get_table_names())
        names = list(Base.metadata.tables)
        renames = [f"`{name}` TO `{self._OLD}{name}`" for name in names if name in present]
        renames += [f"`{self._PREFIX}{name}` TO `{name}`" for name in names]
        connection.exec_driver_sql(f"RENAME TABLE {', '.join(renames)}")

    def _drop_leavings(self, connection: Connection) -> None:
        present = set(inspect(connection).get_table_names())
        for name in Base.metadata.tables:
            for leaving in {self._PREFIX + name, self._OLD + name} & present:
                connection.exec_driver_sql(f"DROP TABLE `{leaving}`")


@contextmanager
def _connection(url: URL) -> Iterator[Connection]:
    """Open one connection, and close it and everything about it at the end."""
    engine: Engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _sync(path: Path) -> None:
    """Have the kernel write a file, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
