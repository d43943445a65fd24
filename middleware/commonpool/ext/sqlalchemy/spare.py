"""The spare connection: one beside an engine's pool, for what must get through to the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from commonpool.ext.sqlalchemy.sockets import Descriptor, descriptor_of, lay_nowhere_over, number_of
from commonpool.watcher import Watch

if TYPE_CHECKING:
    from sqlalchemy import Pool

log = logging.getLogger("commonpool")

Later = Callable[[float, Callable[[], None]], Watch]
"""Has something done, by the watcher, in so many seconds."""

# Seconds that the server may take to answer over the spare connection. It is a matter of
# milliseconds for one that answers at all.
ANSWER_WITHIN = 1.0


class NoAnswer(ConnectionError):
    """The server did not answer over the spare connection."""


class Spare:
    """One connection that no pool counts, opened before it is needed and then kept.

    A server that has no connection left for anybody can so still be told to stop something.

    Args:
        call: what calls a function of its driver (`blocking.caller_for`).
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._connection: Any = None
        self._number: int | None = None
        self._descriptor: Descriptor | None = None
        self._tried = False

    def open(self, pool: Pool) -> None:
        """Open it if that was not tried before; a failure is logged, and is no error.

        Args:
            pool: tells how to connect, and is not touched.
        """
        if not self._tried:
            with self._lock:
                self._open_once(pool)

    def _open_once(self, pool: Pool) -> None:
        if self._tried:
            return
        self._tried = True
        if not isinstance(pool.dispose, _Disposal):  # no event of a pool tells of it
            pool.dispose = _Disposal(pool, self.close)  # type: ignore[method-assign]
        try:
            self._connect(pool)
        except Exception as error:
            log.warning(
                "no spare connection to stop statements with (%s: %s); it is tried again when one "
                "is to be stopped",
                type(error).__name__,
                error,
            )

    def execute(self, pool: Pool, statement: str, *, peer: Any, later: Later) -> None:
        """Execute a statement without rows over it; over a new one where it was lost.

        Args:
            pool: tells how to connect, and is not touched.
            statement: its text.
            peer: the address of the server that is meant.
            later: sees to it that this ends, where the server does not answer.

        Raises:
            NoAnswer: the server is silent.
            Exception: the driver's own error, or it is connected to another server.
        """
        with self._lock:
            was_there = self._connection is not None
            try:
                self._execute(pool, statement, peer, later)
            except NoAnswer:
                raise
            except Exception:
                if not was_there:
                    raise
                self._execute(pool, statement, peer, later)

    def _execute(self, pool: Pool, statement: str, peer: Any, later: Later) -> None:
        if self._connection is None:
            self._connect(pool)
        descriptor, silent = self._descriptor, threading.Event()

        def give_up() -> None:
            silent.set()
            if descriptor is not None:
                descriptor.shut_down()

        watch = later(ANSWER_WITHIN, give_up)
        try:
            if descriptor is not None and descriptor.peer() != peer:
                raise ConnectionError(f"the spare connection leads to another server than {peer}")
            cursor = self._connection.cursor()
            self._call(cursor.execute, statement)
            cursor.close()
        except Exception as error:
            if error.args[:1] == (NO_SUCH_THREAD,):
                return
            self._close()
            if silent.is_set():
                raise NoAnswer(f"no answer within {ANSWER_WITHIN:g} s") from error
            raise
        finally:
            watch.cancel()

    def _connect(self, pool: Pool) -> None:
        # a second pool with the same creator and events, for this one connection
        proxy = pool.recreate().connect()
        connection = proxy.dbapi_connection
        proxy.detach()
        self._connection = connection
        self._number = number_of(connection)
        self._descriptor = descriptor_of(connection)

    def close(self) -> None:
        """Close it; the next use opens it again."""
        with self._lock:
            self._close()
            self._tried = False

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._number = self._descriptor = None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def disown(self) -> None:
        """Leave it to the process that this one was forked from: nothing is sent over it here."""
        if self._number is None:
            return
        # what the driver says when the object goes must not reach the other process's server
        lay_nowhere_over(self._number)


class _Disposal:
    """A pool's `dispose`, with something that is done after it.

    Args:
        pool: whose.
        then: what.
    """

    def __init__(self, pool: Pool, then: Callable[[], None]) -> None:
        self._pool = ref(pool)
        self._then = then

    def __call__(self) -> None:
        pool = self._pool()
        if pool is not None:
            type(pool).dispose(pool)
        self._then()


# MariaDB's and MySQL's ER_NO_SUCH_THREAD: what was to be stopped is not there any more.
NO_SUCH_THREAD = 1094
