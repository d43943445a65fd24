"""Forks: a child process opens connections of its own, and says nothing over its parent's."""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

from sqlalchemy import Pool, event
from sqlalchemy.exc import DisconnectionError

from commonpool import process
from commonpool.ext.sqlalchemy.engines import used
from commonpool.ext.sqlalchemy.sockets import Identity, identity_of

# In the `info` of a connection: which process opened it, and its socket.
PROCESS = "commonpool.process"
SOCKET = "commonpool.socket"

_records: WeakSet[Any] = WeakSet()

# What belongs to the parent of this process. It is never let go of here: a driver's connection that
# is collected as garbage says goodbye to the server, over the socket that the parent uses.
_inherited: list[object] = []


def forget_inherited() -> None:
    """Have every engine that was used before a fork start empty, its parent's connections open.

    Called in a child process, by Python's own fork hook, or else (a server that forks runs none)
    before the process's pool is made. In other processes it does nothing.
    """
    pid = os.getpid()
    for record in list(_records):
        if record.info.get(PROCESS, pid) != pid:
            _inherited.append((record, record.dbapi_connection))
            disown(record)
            if not record.in_use:
                record.dbapi_connection = None  # its pool opens another, and does not try this one
            _records.discard(record)
    for engine, user in list(used.items()):
        if user != pid:
            used[engine] = pid
            _inherited.append(engine.pool)
            engine.dispose(close=False)


def disown(record: Any) -> None:
    """Have whatever a driver still says over an inherited connection go nowhere."""
    identity = record.info.get(SOCKET)
    if isinstance(identity, Identity):
        identity.disown()


def on_open(connection: Any, record: Any) -> None:
    """A connection was opened: note in which process, and its socket."""
    record.info[PROCESS] = os.getpid()
    record.info[SOCKET] = identity_of(connection)
    _records.add(record)


def on_checkout(connection: Any, record: Any, proxy: Any) -> None:
    """A connection is checked out: replace one that another process has opened."""
    opened_in = record.info.get(PROCESS)
    if opened_in is not None and opened_in != os.getpid():
        _inherited.append(connection)
        disown(record)
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError(f"opened in process {opened_in}, this is {os.getpid()}")


def install() -> None:
    """Listen to all pools, and to forks."""
    event.listen(Pool, "connect", on_open)
    event.listen(Pool, "checkout", on_checkout)
    process.at_start(forget_inherited)
    os.register_at_fork(after_in_child=forget_inherited)
