"""A connection's socket, as one may get hold of it from another thread."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.pool import PoolProxiedConnection


class Descriptor:
    """A duplicate of a connection's descriptor, closed when nothing refers to it any more.

    The number alone would not do: drivers refuse to tell it while a statement runs, and once the
    connection is closed it may be another file's.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = os.dup(number)

    def shut_down(self) -> None:
        """Have everyone who waits for the server be told that it is gone. Never blocks."""
        with suppress(OSError), closing(self._socket()) as own:
            own.shutdown(socket.SHUT_RDWR)

    def peer(self) -> Any:
        """The address of the server; `None` where the socket has lost it."""
        with suppress(OSError), closing(self._socket()) as own:
            return own.getpeername()
        return None

    def _socket(self) -> socket.socket:
        number = os.dup(self.number)
        try:
            return socket.socket(fileno=number)
        except BaseException:
            os.close(number)
            raise

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):  # there was nothing to duplicate
            os.close(self.number)


@dataclass(frozen=True, slots=True)
class Identity:
    """A connection's descriptor, to know whether its number is another file's now."""

    number: int
    inode: int

    def disown(self) -> None:
        """Leave it to the process that this one was forked from: nothing is sent over it here."""
        with suppress(OSError):  # closed
            if os.fstat(self.number).st_ino == self.inode:
                lay_nowhere_over(self.number)


def identity_of(connection: Any) -> Identity | None:
    """The descriptor of a connection, asked for on its own thread; `None` where it has none."""
    number = number_of(connection)
    with suppress(OSError):
        return None if number is None else Identity(number, os.fstat(number).st_ino)
    return None


def lay_nowhere_over(number: int) -> None:
    """Have what is sent over a descriptor of this process go nowhere; others keep theirs."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nowhere, number, inheritable=False)
    finally:
        os.close(nowhere)


def number_of(connection: Any) -> int | None:
    """The number of a DBAPI connection's descriptor, asked for on its own thread, if it has one."""
    fileno = getattr(connection, "fileno", None)
    if fileno is None:
        # PyMySQL has no public name for it
        fileno = getattr(getattr(connection, "_sock", None), "fileno", None)
    if fileno is None:
        return None
    try:
        number = fileno()
    except Exception:  # closed: there is nothing to cut
        return None
    return number if isinstance(number, int) and number >= 0 else None


def descriptor_of(connection: Any) -> Descriptor | None:
    """A duplicate of it, for other threads; `None` where there is none to be had."""
    number = number_of(connection)
    if number is None:
        return None
    try:
        return Descriptor(number)
    except OSError:  # no more to be had in this process
        return None


# Where the duplicate of its descriptor stands in the `info` of a connection.
_KEPT = "commonpool.descriptor"


def kept_descriptor_of(connection: PoolProxiedConnection) -> Descriptor | None:
    """A duplicate that is kept as long as the connection: making one takes two calls of the kernel.

    Args:
        connection: a pool's, checked out, asked for on its own thread.
    """
    info = connection.info
    if _KEPT not in info:
        info[_KEPT] = descriptor_of(connection.dbapi_connection)
    descriptor: Descriptor | None = info[_KEPT]
    return descriptor


def descriptor_at_hand(connection: Any) -> Descriptor | None:
    """The one that is kept for a pool's connection; a new duplicate for any other."""
    if isinstance(connection, PoolProxiedConnection):
        try:
            return kept_descriptor_of(connection)
        except NotImplementedError:  # an engine's very first, before it is its pool's
            pass
    return descriptor_of(connection)
