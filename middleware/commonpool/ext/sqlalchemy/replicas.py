"""Replicas: second engines that serve the reads of fan-outs, if these may be stale."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Dialect, Engine, Executable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from commonpool.errors import DeadlineExceeded
from commonpool.ext.sqlalchemy.connecting import connecting_until
from commonpool.ext.sqlalchemy.engines import has_one_connection
from commonpool.ext.sqlalchemy.sessions import LEAVES_NOTHING, Leaves, left_by, session_of
from commonpool.ext.sqlalchemy.statements import reason_in_sql
from commonpool.ext.sqlalchemy.stats import Reason, count
from commonpool.owner import OwnerExecutor, current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import ExecutionContext
    from sqlalchemy.orm import Session
    from sqlalchemy.sql import ClauseElement

MAY_BE_STALE = "may_be_stale"
"""The execution option of statements: whether a replica may serve them."""

# Seconds for which a replica that did not answer is not asked. Its reads are served by the primary
# meanwhile, so nobody waits for that to end; then one connection is tried for all.
AWAY = 5.0

# Seconds that a replica has for a new connection: what waits for it could be had from the primary.
# Drivers take whole seconds, and libpq no fewer than two.
CONNECT_WITHIN = 2.0

log = logging.getLogger("commonpool")


class Replica:
    """The engine that serves reads in the place of another, while it answers.

    Guarantees:
        While it is away, one connection is tried in `AWAY` seconds.
        That it is away is logged once, until it is back.

    Args:
        engine: of the replica.
        all_may_be_stale: whether statements may be that say nothing of it.
    """

    def __init__(self, engine: Engine, *, all_may_be_stale: bool) -> None:
        self.engine = engine
        self.all_may_be_stale = all_may_be_stale
        self._lock = threading.Lock()
        self._asked_again_at = -math.inf
        self._is_away = False
        self._loss_logged_at = -math.inf

    def is_away(self) -> bool:
        """Whether it is not to be asked now."""
        return self._is_away and time.monotonic() < self._asked_again_at

    def connect(self, deadline: float, options: dict[str, Any]) -> Connection:
        """Check a connection out.

        Args:
            deadline: the moment on the monotonic clock until which it is wanted.
            options: execution options for it.

        Raises:
            ConnectionError: it is away, and not to be asked now.
            Exception: there was none to be had; where that is for it not to answer, it is away.
        """
        with self._lock:
            now = time.monotonic()
            if self._is_away:
                if now < self._asked_again_at:
                    raise ConnectionError(f"{self.engine.url!r} did not answer")
                self._asked_again_at = now + AWAY  # for this one to find out, alone
        try:
            with connecting_until(min(deadline, now + CONNECT_WITHIN)):
                connection = with_options(self.engine.connect(), options)
        except Exception as error:
            if is_no_answer(error):
                self._note_away(error)
            raise
        self._note_back()
        return connection

    def has_lost(self, connection: Connection, error: Exception) -> bool:
        """Whether a statement on a connection is to be served by the primary after this error.

        So it is where the connection was lost, which is no answer. What the replica itself says of
        the statement is the answer, and what came of the deadline is what its task is told.
        """
        if isinstance(error, DeadlineExceeded):
            if connection.invalidated:  # it was cut, since the replica said nothing any more
                self._note_away(error)
            return False
        if not isinstance(error, DBAPIError) or not error.connection_invalidated:
            return False
        # The pool has let go of all its connections: the next one shows whether it is away.
        count("replica_lost")
        with self._lock:
            now = time.monotonic()
            is_news = now - self._loss_logged_at >= AWAY
            if is_news:
                self._loss_logged_at = now
        if is_news:
            log.warning(
                "%r has lost a connection (%s); the statement is served by the primary",
                self.engine.url,
                first_line_of(error),
            )
        return True

    def _note_away(self, error: Exception) -> None:
        with self._lock:
            was_away, self._is_away = self._is_away, True
            self._asked_again_at = time.monotonic() + AWAY
        if not was_away:
            log.warning(
                "%r does not answer (%s); the primary serves its reads, and it is asked again "
                "every %g s",
                self.engine.url,
                first_line_of(error),
                AWAY,
            )

    def _note_back(self) -> None:
        if not self._is_away:
            return
        with self._lock:
            was_away, self._is_away = self._is_away, False
        if was_away:
            log.warning("%r answers again, and serves reads", self.engine.url)


def with_options(connection: Connection, options: dict[str, Any]) -> Connection:
    """A connection with execution options, some of which ask the server; or it is given back."""
    try:
        return connection.execution_options(**options) if options else connection
    except BaseException:
        connection.close()
        raise


def is_no_answer(error: Exception) -> bool:
    """Whether who could not connect was let down by the replica.

    Not where all connections of its pool are out, nor where the deadline had passed before.
    """
    if isinstance(error, PoolTimeoutError):
        return False
    return not isinstance(error, DeadlineExceeded) or error.__cause__ is not None


def first_line_of(error: BaseException) -> str:
    """What the driver has said."""
    said = getattr(error, "orig", None) or error.__cause__ or error
    return f"{type(said).__name__}: {said}".partition("\n")[0]


# By what an engine keeps when its pool is replaced, and shares with those made from it by options.
replicas: WeakKeyDictionary[Dialect, Replica] = WeakKeyDictionary()
"""By the dialect of the primary's engine."""

# Who has written what a replica may not have yet, to the engines of which dialects.
_written: WeakKeyDictionary[Session | OwnerExecutor, WeakSet[Dialect]] = WeakKeyDictionary()


def send_reads(engine: Engine, *, reads_on: Engine | None, all_may_be_stale: bool = False) -> None:
    """Have the reads of fan-outs served by a replica.

    Only statements that may leave their session's own connection go there, and only those that may
    be stale: that have the execution option ``may_be_stale=True``. Where the replica does not
    answer, the primary serves them.

    Args:
        engine: the primary's: that of the sessions.
        reads_on: the replica's, with the same dialect and driver. It has a pool, a limit
            (`limit_connections`) and listeners of its own. `None` for no replica any more.
        all_may_be_stale: statements without the option may be stale, too, but for those of a
            request, or of a session, that has written before.

    Raises:
        TypeError: one of them is no `Engine`.
        ValueError: the replica's engine is the primary's, or it has another dialect or driver, or
            it has one connection alone.
    """
    for name, given in (("engine", engine), ("reads_on", reads_on)):
        if not isinstance(given, Engine) and (given is not None or name == "engine"):
            raise TypeError(f"{name} must be an Engine, not {given!r:.60}")
    if not isinstance(all_may_be_stale, bool):
        raise TypeError(f"all_may_be_stale must be True or False, not {all_may_be_stale!r:.60}")
    if reads_on is None:
        replicas.pop(engine.dialect, None)
        return
    check_can_serve(engine, reads_on)
    replicas[engine.dialect] = Replica(reads_on, all_may_be_stale=all_may_be_stale)


def check_can_serve(engine: Engine, reads_on: Engine) -> None:
    """Raise `ValueError` where an engine cannot serve another's reads."""
    if reads_on.dialect is engine.dialect or reads_on.pool is engine.pool:
        raise ValueError(f"reads_on is the primary's own engine, {engine.url!r}")
    kinds = [kind_of(one) for one in (engine, reads_on)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"reads_on has to have the primary's dialect and driver: that is {kinds[0]}, and "
            f"{reads_on.url!r} has {kinds[1]}"
        )
    if reads_on.dialect.is_async:
        raise ValueError(f"reads_on is asynchronous: {reads_on.url!r}")
    if has_one_connection(reads_on):
        raise ValueError(
            f"{reads_on.url!r} cannot serve reads: its pool, {type(reads_on.pool).__name__}, has "
            "one connection alone"
        )


def kind_of(engine: Engine) -> str:
    """What has to be the same for statements and their rows to mean the same."""
    dialect = engine.dialect
    return f"{dialect.name}+{dialect.driver} (paramstyle {dialect.paramstyle})"


def replica_for(engine: Engine, session: Session, option: bool | None) -> Replica | None:  # noqa: FBT001 - three states
    """The replica that is to serve a statement; `None` for the primary.

    Args:
        engine: the primary's.
        session: whose statement it is.
        option: whether it may be stale, if that was said of it.
    """
    replica = replicas.get(engine.dialect)
    if replica is None:
        return None
    if option is None:
        option = replica.all_may_be_stale and not has_written_to(engine, session)
    if not option:
        return None
    if replica.is_away():
        count("replica_away")
        return None
    return replica


def has_written_to(engine: Engine, session: Session) -> bool:
    """Whether a session, or the request that this is, has written what a replica may not have."""
    executor = current.get()
    return any(
        engine.dialect in _written.get(writer, ())
        for writer in (session, executor)
        if writer is not None
    )


def note(connection: Connection, context: ExecutionContext) -> None:
    """Something is executed: note who has written, where there is a replica.

    Once written is written, rolled back or not: an error in that direction costs the primary a
    read, and one in the other shows a user that what was saved is not there.
    """
    dialect = connection.dialect
    if dialect not in replicas or not needs_primary_after(context.statement or ""):
        return
    if context.execution_options.get(LEAVES_NOTHING):
        return
    for writer in (session_of(connection), current.get()):
        if writer is not None:
            _written.setdefault(writer, WeakSet()).add(dialect)


@lru_cache(maxsize=1024)
def needs_primary_after(statement: str) -> bool:
    """Whether who has executed this is to see the primary's rows: it writes, or locks rows."""
    return left_by(statement) is Leaves.A_WRITE or reason_in_sql(statement) is Reason.LOCKS_ROWS


def may_be_served(thing: Any, session: Session) -> bool:
    """Whether a replica may serve what is asked of a session, as far as it is seen from outside.

    Args:
        thing: a statement, a query, a bound method of a query or a session, or a partial of one.
        session: that is asked.
    """
    if not replicas:
        return False
    found = replicas_behind(thing, session)
    if any(replica.all_may_be_stale for replica in found):
        return True
    parts = [thing]
    while isinstance(thing, partial):
        parts += [*thing.args, *thing.keywords.values()]
        thing = thing.func
    parts.append(getattr(thing, "__self__", None))
    return bool(found) and any(option_of(part) for part in parts)


def replicas_behind(thing: Any, session: Session) -> list[Replica]:
    """Those of the engine that is to answer; where that cannot be told from outside, all."""
    bind = session.bind
    if bind is None and isinstance(thing, Executable):
        with suppress(SQLAlchemyError):  # what is wrong with it is said where it is executed
            bind = session.get_bind(clause=cast("ClauseElement", thing))
    if bind is None:
        return list(replicas.values())
    replica = replicas.get(bind.dialect)
    return [] if replica is None else [replica]


def option_of(part: Any) -> Any:
    """What a statement, a query or a mapping of execution options says of staleness."""
    options: Mapping[str, Any] = {}
    if isinstance(part, Executable):
        options = part.get_execution_options()
    elif isinstance(part, dict):
        options = part
    return options.get(MAY_BE_STALE)
