"""What goes to the server beside statements ends by the deadline, too: connecting, and so on.

A statement is kept to its deadline by `stopping`. Before there is one, a connection has to be
opened, or is tried (``pool_pre_ping``), and afterwards its transaction is ended. A database that
does not answer would hold all of that up for as long as the driver waits: by default, without end.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from typing import Any

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import PoolProxiedConnection

from commonpool.errors import DeadlineExceeded
from commonpool.ext.sqlalchemy.blocking import DeadlineKeeper, keep_others_going
from commonpool.ext.sqlalchemy.sockets import Descriptor, descriptor_at_hand
from commonpool.owner import current
from commonpool.process import current_pool
from commonpool.task import running

# Seconds that a ping or a ROLLBACK has at least, and after the deadline at most: one that began
# just before the deadline must not cost a connection that is well.
GRACE = 0.25

# And a COMMIT: nobody knows what became of one that is cut, so only a database that does not answer
# at all is to meet that.
COMMIT_GRACE = 2.0

# Drivers take whole seconds, and libpq no fewer than two.
_LEAST_SECONDS = {"mysqldb": 1, "pymysql": 1, "psycopg": 2, "psycopg2": 2}

# PyMySQL takes no more than a year.
_MOST_SECONDS = 86_400

log = logging.getLogger("commonpool")


class _Here(threading.local):
    """The deadline of what this thread connects for, where that is no task and no request."""

    deadline = math.inf


_here = _Here()


class connecting_until:  # noqa: N801 - it reads as what it does
    """Have what this thread connects to in the block be there by a moment, or fail.

    A class, since a generator as a context manager takes ten times the instructions.

    Args:
        deadline: the moment on the monotonic clock.
    """

    __slots__ = ("_deadline", "_outer")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._outer, _here.deadline = _here.deadline, self._deadline

    def __exit__(self, *_: object) -> None:
        _here.deadline = self._outer


def deadline_here() -> float:
    """The deadline that connections are to keep on this thread; `math.inf` for none."""
    task, executor = running.task, current.get()
    return min(
        _here.deadline,
        math.inf if task is None else task.fan_out.deadline,
        math.inf if executor is None else executor.deadline,
    )


def install() -> None:
    """Keep the connecting of all engines to the deadlines of tasks and requests.

    For the whole process; to call it again changes nothing. With a connect timeout of its own, an
    engine has the shorter one.
    """
    if not event.contains(Engine, "do_connect", _before_connecting):
        event.listen(Engine, "do_connect", _before_connecting)
        event.listen(Engine, "handle_error", _on_error)


def _before_connecting(dialect: Dialect, *_: object) -> None:
    keep(dialect)


def _on_error(context: ExceptionContext) -> BaseException | None:
    """Who could not connect by the deadline is told so."""
    if context.connection is not None or context.is_pre_ping:
        return None
    deadline = deadline_here()
    if deadline == math.inf or (late := current_pool().clock() - deadline) < 0:
        return None
    return DeadlineExceeded(
        f"The deadline passed {late:.1f} s ago; the database did not answer who connects to it."
    )


def keep(dialect: Any) -> None:
    """Have a dialect's own round trips end by the deadline, too: no event tells of their start."""
    keep_others_going(dialect)
    if not isinstance(dialect.do_rollback, _Kept):  # others may put theirs in its place, too
        dialect.connect = _Connect(dialect)
        dialect.do_ping = _Ping(dialect.do_ping)
        dialect.do_rollback = _Rollback(dialect.do_rollback)
        dialect.do_commit = _Commit(dialect.do_commit)


class _Connect(DeadlineKeeper):
    """A dialect's `connect`, whose driver waits no longer than to the deadline.

    Args:
        dialect: whose.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect.connect)
        self._driver = dialect.driver

    def __call__(self, *arguments: Any, **parameters: Any) -> Any:
        deadline = deadline_here()
        if deadline == math.inf or self._driver not in _LEAST_SECONDS:
            return self.method(*arguments, **parameters)
        left = deadline - current_pool().clock()
        if left <= 0 and running.task is not None:  # a request may have to say what happened
            raise DeadlineExceeded(
                f"The deadline passed {-left:.1f} s ago; nothing was connected to."
            )
        seconds = min(max(math.ceil(left), _LEAST_SECONDS[self._driver]), _MOST_SECONDS)
        own = parameters.get("connect_timeout", _default_timeout(self._driver))
        parameters["connect_timeout"] = _shorter(own, seconds)
        if self._driver != "pymysql":
            return self.method(*arguments, **parameters)
        # here the server's greeting counts as any other read
        read_timeout = parameters.get("read_timeout")
        parameters["read_timeout"] = _shorter(read_timeout, seconds)
        connection: Any = self.method(*arguments, **parameters)
        connection._read_timeout = read_timeout  # noqa: SLF001 - it has no public name
        return connection


def _default_timeout(driver: str) -> Any:
    """What a driver takes where it is given no `connect_timeout`."""
    if driver == "pymysql":
        return 10
    return os.environ.get("PGCONNECT_TIMEOUT") if driver.startswith("psycopg") else None


def _shorter(given: Any, seconds: int) -> Any:
    try:
        return given if given and 0 < float(given) < seconds else seconds
    except (TypeError, ValueError):  # for the driver to complain of
        return given


class _Kept(DeadlineKeeper):
    """A dialect's method that waits for the server, kept to the deadline by cutting its connection.

    Args:
        method: takes a DBAPI connection.
    """

    grace = GRACE

    def __call__(self, connection: Any) -> Any:
        deadline = deadline_here()
        descriptor = None if deadline == math.inf else descriptor_at_hand(connection)
        if descriptor is None:
            return self.method(connection)
        pool = current_pool()
        cut = _Cut(descriptor)
        watch = pool.watcher.at(max(deadline, pool.clock()) + self.grace, cut)
        value, failure = None, None
        try:
            value = self.method(connection)
        except Exception as error:
            failure = error
            cut.over()
            if not cut.done:
                raise
        finally:
            watch.cancel()
            cut.over()
        if cut.done:
            self.was_cut(connection, failure, pool.clock() - deadline)
        return value

    def was_cut(self, connection: Any, failure: Exception | None, late: float) -> None:
        """Its connection was cut, and can do no more.

        Args:
            connection: the one.
            failure: what it raised; `None` where the server has answered all the same.
            late: seconds since the deadline.
        """
        raise NotImplementedError


class _Ping(_Kept):
    """Where it fails SQLAlchemy connects again, for which it is too late then."""

    def was_cut(self, _connection: Any, failure: Exception | None, late: float) -> None:
        raise DeadlineExceeded(
            f"The deadline passed {late:.1f} s ago; the database did not answer whether a "
            "connection still lives."
        ) from failure


class _Commit(_Kept):
    """What it raises is the driver's error, by which the connection is known to be lost."""

    grace = COMMIT_GRACE

    def was_cut(self, connection: Any, failure: Exception | None, late: float) -> None:
        if failure is None:
            forget(connection)
            return
        failure.add_note(
            f"Its connection was cut, since the deadline passed {late:.1f} s ago and the database "
            "did not answer. What was being committed may or may not be there."
        )
        raise failure


class _Rollback(_Kept):
    """It does not fail by being cut: what was begun on a lost connection is rolled back.

    Sessions are closed when the answer is ready, and an error then would take its place.
    """

    def was_cut(self, connection: Any, failure: Exception | None, late: float) -> None:
        if not forget(connection) and failure is not None:
            raise failure
        log.warning(
            "a connection was cut, which rolls its transaction back: the deadline passed %.1f s "
            "ago, and the database did not answer a ROLLBACK",
            late,
        )


def forget(connection: Any) -> bool:
    """Have a pool open another connection in place of this one; whether it is a pool's."""
    if not isinstance(connection, PoolProxiedConnection):
        return False
    connection.invalidate(soft=True)
    return True


class _Cut:
    """Cuts a connection, unless what it waits for is over."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._over = False
        self.done = False

    def __call__(self) -> None:
        with self._lock:
            if not self._over:
                self.done = True
                self._descriptor.shut_down()

    def over(self) -> None:
        with self._lock:
            self._over = True
