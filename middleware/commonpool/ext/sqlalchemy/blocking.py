"""Drivers that wait where gevent does not see it: their calls go to native threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from sqlalchemy.pool import PoolProxiedConnection

from commonpool import greenlets
from commonpool.ext.sqlalchemy.sockets import descriptor_at_hand

drivers = {"mysqldb", "psycopg2", "mariadbconnector", "pyodbc", "cx_oracle", "pymssql"}
"""Drivers written in C, by the names that SQLAlchemy has for them. mysqldb and psycopg2 are tested;
the others are here for what they are written in. (PyMySQL and pg8000 wait in Python's sockets,
where other greenlets go on by themselves. SQLite's works instead of waiting, and its connections
may be their threads' own.)"""


# What a driver imports only when it connects. Native threads that meet at the lock of an import,
# which is gevent's, may wait for each other without end.
_IMPORTED_LATE = {
    "mysqldb": (
        "MySQLdb.connections",
        "MySQLdb.constants.CLIENT",
        "MySQLdb.converters",
        "MySQLdb.cursors",
    )
}

_EXECUTING = ("do_execute", "do_executemany", "do_execute_no_params")
_ROUND_TRIPS = ("do_ping", "do_rollback", "do_commit")
_SETTING = ("set_isolation_level", "reset_isolation_level", "get_isolation_level")


def caller_for(dialect: Any) -> Callable[..., Any]:
    """What calls a function of a dialect's driver: as it is, or on a native thread."""
    greenlets.adapt()  # there may be no pool yet
    if greenlets.native_calls and blocks(dialect):
        return greenlets.native_calls[0]
    return here


def here(fn: Callable[..., Any], *arguments: Any, **_: object) -> Any:
    """Call a function."""
    return fn(*arguments)


def blocks(dialect: Any) -> bool:
    """Whether a dialect's driver would keep all greenlets of its thread waiting."""
    if dialect.driver == "psycopg":  # it looks for gevent when it is imported
        waiting: Any = sys.modules.get("psycopg.waiting")
        return waiting is not None and waiting.wait is getattr(waiting, "wait_c", None)
    if dialect.driver == "psycopg2":  # psycogreen has it wait as gevent does
        return dialect.loaded_dbapi.extensions.get_wait_callback() is None
    return dialect.driver in drivers


def keep_others_going(dialect: Any) -> None:
    """Have the round trips of a dialect's driver be made on native threads, where it blocks.

    To call it again changes nothing.

    Args:
        dialect: whose; it may be in use.
    """
    if isinstance(dialect.do_execute, _Execution):
        return
    call = caller_for(dialect)
    if call is here:
        return
    for module in _IMPORTED_LATE.get(dialect.driver, ()):
        import_module(module)
    for name in _EXECUTING:
        setattr(dialect, name, _Execution(getattr(dialect, name), call))
    for name in (*_ROUND_TRIPS, *_SETTING):
        _put_into(dialect, name, _RoundTrip, call)
    _put_into(dialect, "connect", _Connect, call)


def _put_into(dialect: Any, name: str, kind: Callable[..., Any], call: Callable[..., Any]) -> None:
    """Have a method of a dialect be made by a native call: the innermost, where it is wrapped."""
    method = getattr(dialect, name)
    if isinstance(method, DeadlineKeeper):
        method.method = kind(method.method, call)
    else:
        setattr(dialect, name, kind(method, call))


class DeadlineKeeper:
    """A method in the place of a dialect's own, which it calls, and keeps to the deadline here.

    Attributes:
        method: the dialect's own.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method


class _Connect:
    """A dialect's `connect`. Nobody waits for a connection that nobody wants any more."""

    def __init__(self, method: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._method = method
        self._call = call

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._call(partial(self._method, *given, **named), discard=_close)


def _close(connection: Any) -> None:
    with suppress(Exception):
        connection.close()


class _RoundTrip:
    """A dialect's method that takes a DBAPI connection, or a pool's, and waits for the server."""

    def __init__(self, method: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._method = method
        self._call = call

    def __call__(self, connection: Any, *arguments: Any) -> Any:
        cut = _Cut(connection)
        try:
            return self._call(self._method, connection, *arguments, cut=cut)
        except Exception:
            if cut.done and isinstance(connection, PoolProxiedConnection):
                connection.invalidate()
            raise


class _Execution:
    """A dialect's method that takes a cursor, a statement and more."""

    def __init__(self, method: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._method = method
        self._call = call

    def __call__(self, cursor: Any, *arguments: Any, **named: Any) -> Any:
        context = named.get("context", arguments[-1])
        root = getattr(context, "root_connection", None)
        cut = _Cut(cursor.connection if root is None else root.connection)
        method = partial(self._method, **named) if named else self._method
        try:
            return self._call(method, cursor, *arguments, cut=cut)
        except Exception:
            if cut.done and root is not None:
                root.invalidate()
            raise


class _Cut:
    """Cuts a connection, so that its driver waits no longer.

    Args:
        connection: a DBAPI connection or a pool's, which does nothing now.

    Attributes:
        done: whether that was so. By what is no `Exception` SQLAlchemy knows that a connection is
            lost, by others (`gevent.Timeout` may be given any) it does not.
    """

    done = False

    def __init__(self, connection: Any) -> None:
        self._descriptor = descriptor_at_hand(connection)

    def __call__(self) -> None:
        if self._descriptor is not None:
            self.done = True
            self._descriptor.shut_down()
