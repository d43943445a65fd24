"""Sessions: what one has done on its connections, whose it is, and what keeps statements in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Connection, Engine, Transaction, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.orm import Session

from commonpool.errors import DeadlineExceeded, WrongThread
from commonpool.ext.sqlalchemy.engines import has_one_connection, note_use
from commonpool.ext.sqlalchemy.stand import Stand
from commonpool.ext.sqlalchemy.statements import reason_in_sql
from commonpool.ext.sqlalchemy.stats import Reason
from commonpool.staged import Call, StagedTask
from commonpool.task import SETTLED, Task, running

Prepare = Callable[[dict[Any, Any], Connection], object]

# What leaves nothing behind that another connection would not see. Everything else is a write.
READS = re.compile(
    r"(?:SET\s+STATEMENT\s.+?\sFOR\s)?"
    r"[\s(]*(?P<what>WITH|SELECT|SHOW|SAVEPOINT|RELEASE|ROLLBACK|VALUES)\b",
    re.IGNORECASE,
)


LEAVES_NOTHING = "commonpool_leaves_nothing"
"""The execution option of what this adapter asks of a session's own connection for itself."""

# Where there is `prepare_connection`, workers' connections have the same settings.
SETS = re.compile(r"\s*SET\b", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class Home:
    """Where a session or its connection belongs: a process, and the task that began with it.

    Attributes:
        written: the latest transaction of the connection in which a write was executed.
        session: whose connection it is.
    """

    process: int
    task: ref[Task] | None
    written: ref[Transaction] | None = None
    session: ref[Session] | None = None

    def is_here(self) -> bool:
        """Whether that task is the one that this thread runs, or is done."""
        if self.task is None:
            return innermost_callable() is None
        task = self.task()
        return task is None or task.state is SETTLED or task is innermost_callable()

    def note(self, leaves: Leaves, connection: Connection, context: ExecutionContext) -> None:
        """Something is executed that leaves something behind; note it if others cannot see it."""
        transaction = connection.get_transaction()
        if transaction is None or (leaves is Leaves.A_SETTING and _prepare):
            return
        if not context.execution_options.get(LEAVES_NOTHING):
            self.written = ref(transaction)


_connections: WeakKeyDictionary[Session, WeakSet[Connection]] = WeakKeyDictionary()
_homes: WeakKeyDictionary[Connection, Home] = WeakKeyDictionary()
_claims: WeakKeyDictionary[Session, Home] = WeakKeyDictionary()
_prepare: list[Prepare] = []


def prepare_connection(prepare: Prepare) -> Prepare:
    """Register what gives a worker's connection what `after_begin` listeners give a session's.

    It is called as ``prepare(session_info, connection)`` for every statement that a worker is to
    execute, in its transaction, before it: with the ``info`` of the caller's session, and the
    `Connection`. It has to set all that decides which rows are seen (the tenant of row-level
    security, say), every time: connections are used again. Can be used as a decorator.
    """
    _prepare.append(prepare)
    return prepare


def prepare_for(session_info: dict[Any, Any], connection: Connection) -> None:
    """Call what was registered."""
    for prepare in _prepare:
        prepare(session_info, connection)


def reason_of_session(session: Session, bind: Engine | Connection) -> Reason | None:
    """Why the statements of a session have to run on its own connection; `None` if any will do."""
    if isinstance(bind, Connection):
        return Reason.BOUND
    if not _prepare and others_listen(session):
        return Reason.AFTER_BEGIN
    if has_changes(session):
        return Reason.CHANGES
    if has_one_connection(bind):
        return Reason.ONE_CONNECTION
    return None


def others_listen(session: Session) -> bool:
    """Whether a session has `after_begin` listeners beside the one of this module."""
    for listener in session.dispatch.after_begin:  # noqa: SIM110 - asked twice for each statement
        if listener is not on_begin:
            return True
    return False


def has_changes(session: Session) -> bool:
    """Whether a session has changes, flushed or not, that are not committed."""
    return bool(session.new or session.dirty or session.deleted) or has_written(session)


def has_written(session: Session) -> bool:
    """Whether a write was executed in the session's open transaction."""
    return any(
        is_open_on(connection, _homes[connection].written)
        for connection in _connections.get(session, ())
    )


def is_open_on(connection: Connection, transaction: ref[Transaction] | None) -> bool:
    """Whether a transaction is the one that a connection is in."""
    return transaction is not None and transaction() is connection.get_transaction() is not None


def own_options(session: Session, engine: Engine) -> dict[str, Any]:
    """The execution options that the session's connection to an engine has, beyond the engine's."""
    for connection in _connections.get(session, ()):
        if connection.engine is engine and not connection.closed:
            of_engine = engine.get_execution_options()
            return {
                name: value
                for name, value in connection.get_execution_options().items()
                if name not in of_engine or of_engine[name] is not value
            }
    return {}


def has_connection(session: Session) -> bool:
    """Whether a session has a connection now."""
    return any(not connection.closed for connection in _connections.get(session, ()))


def own_connection(session: Session, engine: Engine) -> Connection | None:
    """The connection that the session has to an engine, if it has one."""
    for connection in _connections.get(session, ()):
        if connection.engine is engine and not connection.closed:
            return connection
    return None


def session_of(connection: Connection) -> Session | None:
    """Whose own connection this is, if it is a session's."""
    home = _homes.get(connection)
    return None if home is None or home.session is None else home.session()


LOST = (
    "The session's own connection was lost by that, and its transaction with it: call the "
    "session's rollback() before it is used again."
)


def explain_loss(error: BaseException, session: Session) -> None:
    """Say so if a session's transaction has ended by the loss of its connection at a deadline."""
    if isinstance(error, DeadlineExceeded) and any(
        connection.invalidated
        for connection in _connections.get(session, ())
        if not connection.closed
    ):
        error.add_note(LOST)


# What a session's own thread has made of statements. (A union would be made anew for each look.)
_OF_ITS_CALLER = (StagedTask, Call)


def claim(session: Session) -> None:
    """Note that a session belongs to what runs here, so that other tasks are kept from using it.

    Raises:
        WrongThread: it belongs to the caller of the task that runs here, or has a connection that
            another process opened.
    """
    check_belongs_here(session)
    for connection in _connections.get(session, ()):
        if not connection.closed:
            check_process(_homes[connection])
    home = _claims.get(session)
    if home is None or not home.is_here():
        _claims[session] = here()


def check_belongs_here(session: Session) -> None:
    """Raise `WrongThread` in a task whose caller the session belongs to."""
    if innermost_callable() is None:
        return
    homes = [_claims.get(session)]
    homes += [
        _homes.get(connection)
        for connection in _connections.get(session, ())
        if not connection.closed
    ]
    if any(home is not None and not home.is_here() for home in homes):
        raise WrongThread(how_to_write_it())


def here() -> Home:
    """This process, and the task that this thread runs."""
    task = innermost_callable()
    return Home(os.getpid(), None if task is None else ref(task))


def innermost_callable() -> Task | None:
    """The callable that this thread runs as a task; a statement counts as its caller."""
    task = running.task
    while task is not None and (task.keeps_statements or isinstance(task, _OF_ITS_CALLER)):
        task = task.fan_out.parent
    return task


def on_begin(session: Session, _transaction: object, connection: Any) -> None:
    """A session has a connection: note which, and keep it from tasks that are not its own."""
    if isinstance(connection, Stand):
        return
    if running.task is not None:
        check_belongs_here(session)
    note_use(connection, running.task)
    if connection not in _homes:
        home = _homes[connection] = here()
        home.session = ref(session)
        known = _connections.get(session)
        if known is None:
            known = _connections[session] = WeakSet()
        known.add(connection)


def check_execution(connection: Connection, task: Task | None, context: ExecutionContext) -> bool:
    """A statement is to be executed: not on a connection that belongs elsewhere; note if it writes.

    Args:
        connection: what is to execute it.
        task: what this thread runs.
        context: the statement's.

    Returns:
        Whether the connection is a session's.

    Raises:
        WrongThread: the connection belongs elsewhere.
    """
    home = _homes.get(connection)
    if home is None:
        return False
    check_process(home)
    if task is not None and not home.is_here():
        raise WrongThread(how_to_write_it())
    leaves = left_by_it(context)
    if leaves is not Leaves.NOTHING:
        home.note(leaves, connection, context)
    return True


def check_process(home: Home) -> None:
    """Raise `WrongThread` for a connection that was opened before a fork."""
    if home.process != os.getpid():
        raise WrongThread(
            f"This session has a connection that process {home.process} opened; this is process "
            f"{os.getpid()}, forked from it. Two processes on one connection mix their answers up: "
            "close the session before the fork, or open it after."
        )


def how_to_write_it() -> str:
    """What to say to whoever uses the caller's session in a task."""
    task = innermost_callable()
    return (
        f"{'A task' if task is None else task.name} uses a session that belongs to its caller, on "
        "whose connection another thread may be at work. Pass the statement itself: "
        "run_in_parallel([select(User), ...]); or have the function use a session of its own: "
        "db.session in Flask, and elsewhere: with Session(engine) as session: ... (An object of "
        "the caller's session that loads what it lacks uses that session, too.)"
    )


class Leaves(Enum):
    """What a statement leaves behind that only its own connection sees."""

    NOTHING = "nothing"
    A_SETTING = "something that decides what is seen: a variable, a tenant"
    A_WRITE = "rows that are not committed"


def left_by_it(context: ExecutionContext) -> Leaves:
    """What the statement of a context leaves behind for its connection."""
    return left_by(context.statement or "")


@lru_cache(maxsize=1024)
def left_by(statement: str) -> Leaves:
    """What a statement leaves behind for its connection."""
    reads = READS.match(statement)
    if reads is None:
        return Leaves.A_SETTING if SETS.match(statement) else Leaves.A_WRITE
    reason = reason_in_sql(statement[reads.start("what") :])
    if reason is Reason.ABOUT_THE_CONNECTION:
        return Leaves.A_SETTING
    # a SELECT with oddities is still one; a WITH may write
    writes = reason is Reason.NOT_A_SELECT and reads["what"].upper() == "WITH"
    return Leaves.A_WRITE if writes else Leaves.NOTHING


def install() -> None:
    """Listen to all sessions."""
    event.listen(Session, "after_begin", on_begin)
