"""Engines: how many of their connections workers may have."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.exc import TimeoutError  # noqa: A004 - in this file it is the pool's
from sqlalchemy.pool import AssertionPool, Pool, SingletonThreadPool, StaticPool

from commonpool import adapters, process
from commonpool.budget import Budget, Share
from commonpool.ext.sqlalchemy.connecting import connecting_until, keep
from commonpool.ext.sqlalchemy.in_line import keep_in_line
from commonpool.task import Task, explainers

if TYPE_CHECKING:
    from collections.abc import Callable


# Seconds for which workers ask a database for no connection after it has refused one.
PAUSE = 1.0

# Seconds that the server has to end the transaction of a worker's connection, which has only read.
ROLLBACK_WITHIN = 1.0

log = logging.getLogger("commonpool")


class ConnectionShare(Share):
    """One connection of a budget, for one task; with the connection itself, once it is there."""

    def __init__(self, budget: ConnectionBudget) -> None:
        self.budget = budget
        self.connection: Connection | None = None
        self._counted = True
        self._lock = threading.Lock()  # it may be given back by several at once

    def connected(self) -> None:
        """The connection is checked out: from now on the engine's pool counts it."""
        with self._lock:
            counted, self._counted = self._counted, False
        if counted:
            self.budget.uncount()

    def give_back(self) -> None:
        """Let others have it; the connection goes back to its pool."""
        self.connected()
        with self._lock:
            connection, self.connection = self.connection, None
        if connection is None:
            return
        _returns.quietly = True  # who gives it back calls the next, once it is there
        try:
            with connecting_until(time.monotonic() + ROLLBACK_WITHIN):
                connection.close()
        except Exception as error:  # its ROLLBACK failed, say: the rows are there all the same
            log.warning("a worker's connection could not be given back: %s", error)
            with suppress(Exception):
                connection.invalidate()
                connection.close()
        finally:
            _returns.quietly = False


class _Returns(threading.local):
    """What this thread does about a connection's return."""

    quietly = False


_returns = _Returns()


class ConnectionBudget(Budget):
    """How many connections of an engine's pool workers may have.

    Guarantees:
        A worker takes a connection only while fewer are checked out than the pool's size: what
        the pool may open above that (its overflow) belongs to the requests' own sessions.

    Args:
        pool: the engine's.
        limit: connections; 0 for no limit.
    """

    def __init__(self, pool: Pool, limit: int) -> None:
        self._pool = ref(pool)  # which knows this budget as a listener
        self.limit = limit
        self._lock = threading.Lock()
        self._pause_ends = -math.inf
        self._not_yet = 0  # shares whose connection is not checked out yet
        event.listen(pool, "checkin", self._checked_in)

    def take(self, *, at_any_rate: bool = False) -> ConnectionShare | None:
        """A share, unless as many connections are out as there may be; see `Budget`."""
        with self._lock:
            if not at_any_rate and not self.has_room():
                return None
            self._not_yet += 1
        return ConnectionShare(self)

    def has_room(self) -> bool:
        """Whether `take` would give a share now."""
        if time.monotonic() < self._pause_ends:
            return False
        return not self.limit or self._checked_out() + self._not_yet < self.limit

    def pause(self) -> None:
        """The database has refused a connection: leave it in peace for a moment."""
        self._pause_ends = time.monotonic() + PAUSE

    def uncount(self) -> None:
        """A share became a connection, or nothing."""
        with self._lock:
            self._not_yet -= 1
        if self.has_room():  # for a moment it was counted twice, and another may have found none
            process.freed(self)

    def _checked_out(self) -> int:
        checkedout: Callable[[], int] | None = getattr(self._pool(), "checkedout", None)
        return 0 if checkedout is None else checkedout()

    def _checked_in(self, *_: object) -> None:
        # The connection is not back yet, but will be when a worker has come for it. This may run in
        # a garbage collection, anywhere: it must not wait for a lock.
        if not _returns.quietly:
            process.freed(self, wait=False)

    def __str__(self) -> str:
        """The arithmetic, for errors."""
        return (
            f"workers may have {self.limit or 'any number'} of its connections, and "
            f"{self._checked_out()} are checked out"
        )


_budgets: WeakKeyDictionary[Pool, ConnectionBudget] = WeakKeyDictionary()
# By what an engine keeps when its pool is replaced, and shares with those made from it by options.
_limits: WeakKeyDictionary[Dialect, int] = WeakKeyDictionary()
_budgets_lock = threading.Lock()


def budget_of(engine: Engine) -> ConnectionBudget:
    """The budget of an engine's pool, made now if there is none."""
    pool = engine.pool
    budget = _budgets.get(pool)
    if budget is None:
        with _budgets_lock:
            budget = _budgets.get(pool)
            if budget is None:
                limit = _limits.get(engine.dialect, size_of(pool))
                budget = _budgets[pool] = ConnectionBudget(pool, limit)
    return budget


def limit_connections(engine: Engine, connections: int) -> None:
    """Say how many of an engine's connections workers may have at once.

    Args:
        engine: whose pool.
        connections: at most so many; 0 for no limit. By default it is the pool's ``size()``, and
            no limit for pools that have none (`NullPool`).

    Raises:
        ValueError: it is negative, or not a whole number.
    """
    if isinstance(connections, bool) or not isinstance(connections, int) or connections < 0:
        raise ValueError(f"connections must be a whole number, 0 or more, got {connections!r:.40}")
    _limits[engine.dialect] = connections
    budget_of(engine).limit = connections


def size_of(pool: Pool) -> int:
    """How many connections a pool keeps; 0 where it says nothing of it, or has no limit."""
    size = getattr(pool, "size", None)
    return int(size()) if callable(size) and hasattr(pool, "checkedout") else 0


def has_idle_connection(engine: Engine) -> bool:
    """Whether an engine's pool has a connection that nobody has to wait for, as far as it says."""
    checkedin = getattr(engine.pool, "checkedin", None)
    return checkedin is None or checkedin() > 0


def has_one_connection(engine: Engine) -> bool:
    """Whether what one thread has connected to is not there for another's connection.

    A SQLite database in memory is its connection's own, or its thread's.
    """
    if isinstance(engine.pool, StaticPool | SingletonThreadPool | AssertionPool):
        return True
    if engine.dialect.name != "sqlite":
        return False
    dialect: Any = engine.dialect
    return issubclass(dialect.get_pool_class(engine.url), SingletonThreadPool)


used: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()
"""The engines that were used, and in which process they were first."""


def note_engine(engine: Engine) -> None:
    """An engine has a connection: note in which process."""
    keep_in_line(engine.pool)
    if engine not in used:
        used[engine] = os.getpid()
        keep(engine.dialect)  # where it has a creator of its own, there is no `do_connect`


def note_use(connection: Connection, task: Task | None) -> None:
    """An engine is used: note in which process, and that the task that uses it needs a share.

    Args:
        connection: one of its, that is about to execute something.
        task: what this thread runs.
    """
    engine = connection.engine
    note_engine(engine)
    if task is None or type(task) is not Task or has_one_connection(engine):
        return
    budget = budget_of(engine)
    share = task.share
    if isinstance(share, ConnectionShare) and share.budget is budget:
        share.connected()
        return
    code = adapters.code_of(task.fn)
    if code is not None and task.budget is not budget:
        adapters.budgets[code] = budget


def explain(task: Task, error: BaseException) -> None:
    """Add the arithmetic to the error of a task that found no connection within `pool_timeout`."""
    if not isinstance(error, TimeoutError):
        return
    workers = task.fan_out.owner.pool.config.max_workers
    for engine in list(used):
        budget = _budgets.get(engine.pool)
        if budget is not None and not budget.has_room():
            error.add_note(
                f"{engine.url!r}: {arithmetic(engine)}. A function that uses a session of its own "
                "in a task needs a connection beside its request's: pool_size + max_overflow >= "
                f"request threads + max_workers ({workers}) lets all run at once. Statements run "
                "on their request's own connection where there is no other: pass those instead."
            )


def arithmetic(engine: Engine) -> str:
    """Why there is no connection, in numbers."""
    return f"{engine.pool.status()}; {budget_of(engine)}"


def adapt_used() -> None:
    """Have the engines that are in use be what this process needs: gevent may have come since."""
    for engine in list(used):
        keep(engine.dialect)


def install() -> None:
    """Listen to what tasks raise, and look at what was used before there is a pool."""
    explainers.append(explain)
    process.at_start(adapt_used)
