"""The application's way to the database: its engine, and what every connection is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import NullPool, create_engine, event

from stack.app import stopwatches
from stack.data.models import Base
from stack.data.urls import read_only

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import URL, Engine

    from stack.app.settings import Settings

CHECKOUT_SECONDS = 10
"""How long a session waits for a connection: below the deadline of a request, so that the error
says what is scarce."""

RECYCLE_SECONDS = 280
"""After how long a connection is replaced: below the 300 s that MariaDB's ``wait_timeout`` is
commonly set to (28,800 s by default)."""

CONNECT_SECONDS = 5

db = SQLAlchemy(metadata=Base.metadata)


def init_app(app: Flask, settings: Settings) -> None:
    """Give ``app`` its engine, as ``settings`` say. Opens no connection."""
    url = settings.database_url
    sqlite = url.get_backend_name() == "sqlite"
    app.config["SQLALCHEMY_DATABASE_URI"] = read_only(url) if sqlite else url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": CHECKOUT_SECONDS,
        # The server or something on the way may have closed an idle connection. A file has not.
        **({} if sqlite else {"pool_pre_ping": True, "pool_recycle": RECYCLE_SECONDS}),
        "connect_args": _connect_arguments(url, connect_seconds=CONNECT_SECONDS),
    }
    db.init_app(app)
    with app.app_context():
        engine = db.engine
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "connect", _StatementLimit(settings.statement_seconds))
    stopwatches.listen(engine)
    if settings.latency_ms:
        event.listen(engine, "before_cursor_execute", _Latency(settings.latency_ms / 1000))


def probe_engine(url: URL, *, seconds: int) -> Engine:
    """Return an engine that opens a connection for each use and gives up after ``seconds``.

    It is apart from the application's engine, so it answers also when that has no connection
    to spare, and without the latency that is added there.
    """
    arguments = _connect_arguments(url, connect_seconds=seconds)
    if url.get_backend_name() == "sqlite":
        return create_engine(read_only(url), poolclass=NullPool, connect_args=arguments)
    arguments |= {"read_timeout": seconds, "write_timeout": seconds}
    return create_engine(url, poolclass=NullPool, connect_args=arguments)


def _connect_arguments(url: URL, *, connect_seconds: int) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        # A connection is used by one thread at a time, but not always by the one that opened it.
        return {"check_same_thread": False}
    return {"connect_timeout": connect_seconds}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Make SQLite read from the page cache of the system, and know ``sleep(seconds)``.

    The file is opened for reading only and is never changed, only replaced: there is no writer
    that could hold readers up, and nothing that a write-ahead log would be good for.
    """
    connection.execute("PRAGMA mmap_size = 268435456").close()
    connection.create_function("sleep", 1, _sleep)


def _sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 0  # what MariaDB's SLEEP() returns when nothing interrupted it


class _StatementLimit:
    """Tells each MariaDB connection after how many seconds the server stops a statement."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        # MySQL lacks the variable, and has its own in milliseconds, for SELECT alone.
        if "MariaDB" in connection.get_server_info():
            cursor.execute(f"SET SESSION max_statement_time = {self._seconds}")
        else:
            cursor.execute(f"SET SESSION max_execution_time = {round(self._seconds * 1000)}")
        cursor.close()


class _Latency:
    """Delays each statement, as a network would: the thread sleeps, others run."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, *_: object) -> None:
        time.sleep(self._seconds)
