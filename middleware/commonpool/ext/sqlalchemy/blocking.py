"""Drivers that wait where gevent does not see it: their calls go to native threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from commonpool import greenlets
from commonpool.ext.sqlalchemy.sockets import descriptor_at_hand

drivers = {"mysqldb", "psycopg2", "mariadbconnector", "pyodbc", "cx_oracle", "pymssql"}
"""Drivers written in C, by the names that SQLAlchemy has for them. (PyMySQL and pg8000 wait in
Python's sockets, where other greenlets go on by themselves. SQLite's works instead of waiting, and
its connections may be their threads' own.)"""


def caller_for(dialect: Any) -> Callable[..., Any]:
    """What calls a function of a dialect's driver: as it is, or on a native thread."""
    greenlets.adapt()  # there may be no pool yet
    if greenlets.native_calls and blocks(dialect):
        return greenlets.native_calls[0]
    return here


def here(fn: Callable[..., Any], *arguments: Any, cut: object = None) -> Any:
    """Call a function."""
    del cut
    return fn(*arguments)


def blocks(dialect: Any) -> bool:
    """Whether a dialect's driver would keep all greenlets of its thread waiting."""
    if dialect.driver == "psycopg":  # it looks for gevent when it is imported
        waiting: Any = sys.modules.get("psycopg.waiting")
        return waiting is not None and waiting.wait is getattr(waiting, "wait_c", None)
    if dialect.driver == "psycopg2":  # psycogreen has it wait as gevent does
        return dialect.loaded_dbapi.extensions.get_wait_callback() is None
    return dialect.driver in drivers


def keep_others_going(dialect: Any, *, in_use: bool) -> None:
    """Have the round trips of a dialect's driver be made on native threads, where it blocks.

    To call it again changes nothing.

    Args:
        dialect: whose.
        in_use: whether it had connections before, so that only what executes is changed.
    """
    call = caller_for(dialect)
    if call is here or isinstance(dialect.do_execute, _Execution):
        return
    for how in ("do_execute", "do_executemany", "do_execute_no_params"):
        setattr(dialect, how, _Execution(getattr(dialect, how), call))
    if not in_use:
        dialect.connect = _Connect(dialect.connect, call)
        for method in ("do_ping", "do_rollback", "do_commit"):
            setattr(dialect, method, _RoundTrip(getattr(dialect, method), call))


class _Connect:
    """A dialect's `connect`, whose first call is made alone.

    Drivers import modules when they connect (mysqlclient does). Native threads that meet at the
    lock of an import, which is gevent's, may wait for each other without end.
    """

    def __init__(self, connect: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._connect = connect
        self._call = call
        self._first = threading.Lock()
        self._has_tried = False

    def __call__(self, *given: Any, **named: Any) -> Any:
        connect = partial(self._connect, *given, **named)
        if not self._has_tried:
            with self._first:
                if not self._has_tried:
                    try:
                        return self._call(connect)
                    finally:
                        self._has_tried = True
        return self._call(connect)


class _RoundTrip:
    """A dialect's method that takes a DBAPI connection and waits for the server."""

    def __init__(self, method: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._method = method
        self._call = call

    def __call__(self, connection: Any) -> Any:
        return self._call(self._method, connection, cut=cutter_of(connection))


class _Execution:
    """A dialect's method that takes a cursor, a statement and more."""

    def __init__(self, method: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._method = method
        self._call = call

    def __call__(self, cursor: Any, *arguments: Any, **named: Any) -> Any:
        context = named.get("context", arguments[-1])
        root = getattr(context, "root_connection", None)
        connection = cursor.connection if root is None else root.connection
        method = partial(self._method, **named) if named else self._method
        return self._call(method, cursor, *arguments, cut=cutter_of(connection))


def cutter_of(connection: Any) -> Callable[[], None] | None:
    """What cuts a connection, so that its driver waits no longer; `None` if there is no way.

    Args:
        connection: a DBAPI connection or a pool's, which does nothing now.
    """
    descriptor = descriptor_at_hand(connection)
    return None if descriptor is None else descriptor.shut_down
