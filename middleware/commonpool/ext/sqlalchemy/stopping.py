"""Statements inside tasks are stopped in the database once their deadline has passed."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, event

from commonpool.errors import DeadlineExceeded
from commonpool.ext.sqlalchemy.limits import LIMIT_AFTER
from commonpool.ext.sqlalchemy.running_statement import RunningStatement, first_line
from commonpool.ext.sqlalchemy.servers import server_of
from commonpool.ext.sqlalchemy.stats import count
from commonpool.task import ABANDONED, Task, running

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext, ExecutionContext

BUFFERED = "commonpool_buffered"
"""An execution option: all rows are to be fetched at once."""

# Statements that SQLAlchemy executes with this option fail without `handle_error` being asked.
_UNHANDLED = "skip_user_error_events"

# What begins or ends a transaction is short, and nothing is gained by its failing.
_TRANSACTION_CONTROL = re.compile(
    r"\s*(?:BEGIN|COMMIT|END|PREPARE|RELEASE|ROLLBACK|SAVEPOINT|START|XA)\b", re.IGNORECASE
)


def install() -> None:
    """Keep the statements of all engines to the deadlines of the tasks that execute them.

    For the whole process; to call it again changes nothing.

    A task whose statement was stopped gets `DeadlineExceeded`, raised from the driver's error. One
    that executes a statement after its deadline, or after it was abandoned, gets it at once.
    Statements outside tasks, and those that begin or end a transaction, are not touched.
    """
    if event.contains(Engine, "handle_error", _on_error):
        return
    # before the listeners that may raise what they like: after those, nobody is asked
    event.listen(Engine, "handle_error", _on_error, insert=True)


def go_on(
    task: Task, connection: Connection, text: str, context: ExecutionContext | None
) -> str | None:
    """A kept task's next statement on the same connection; its text, with a time limit in it.

    Returns:
        `None` where it has to `begin`.
    """
    statement: Any = task.stopper
    if (
        statement is None
        or not statement.is_paused
        or not statement.fits(connection)
        or context is None
        or _UNHANDLED in context.execution_options
        or _TRANSACTION_CONTROL.match(text)
        or not statement.go_on(text)
    ):
        return None
    if statement.deadline == math.inf:
        return text
    left = statement.deadline - task.fan_out.owner.pool.clock()
    if left > 0:
        return cast("str", statement.server.limited(text, left + LIMIT_AFTER))
    statement.pause()
    return None


def pause(task: Task, connection: Connection, context: ExecutionContext | None) -> bool:
    """A kept task's statement was executed; whether it is over, with all its rows."""
    statement: Any = task.stopper
    return (
        statement is not None
        and not statement.is_paused
        and statement.connection is connection
        and context is not None
        and BUFFERED not in context.execution_options
        and statement.server.has_rows(context)
        and statement.pause()
    )


def is_buffered(task: Task, context: ExecutionContext) -> bool:
    """Whether all rows of a statement are to be fetched at once."""
    return task.keeps_statements or bool(context.execution_options.get(BUFFERED))


def begin(task: Task, connection: Connection, text: str, context: ExecutionContext | None) -> str:
    """A task is about to execute a statement; its text, with a time limit in it.

    Raises:
        DeadlineExceeded: the deadline has passed, or nobody waits for the task any more.
    """
    if _TRANSACTION_CONTROL.match(text) or (
        context is not None and _UNHANDLED in context.execution_options
    ):
        return text
    fan_out = task.fan_out
    _end_paused(task)
    server = server_of(connection)
    limited = text
    if fan_out.deadline != math.inf:
        left = fan_out.deadline - fan_out.owner.pool.clock()
        if left <= 0:
            raise DeadlineExceeded(
                f"The deadline passed {-left:.1f} s ago; the statement was not sent: "
                f"{first_line(text)}"
            )
        server.prepare(connection.engine.pool)
        limited = server.limited(text, left + LIMIT_AFTER)
    statement = task.stopper = RunningStatement(task, connection, server, text)
    if task.state is ABANDONED:  # in this order: who abandons it looks for its stopper afterwards
        statement.end()
        _remove(statement, task)
        raise DeadlineExceeded(
            f"The task was abandoned before; the statement was not sent: {first_line(text)}"
        )
    return limited


def finish(task: Task, connection: Connection) -> None:
    """A statement of a task is over, with its rows where those are fetched at once.

    Raises:
        DeadlineExceeded: it was stopped, and has ended without saying so: what it returned may be
            wrong. The connection is invalidated when this is raised out of the listener.
    """
    statement = _running_on(connection, task)
    if statement is None or (task.keeps_statements and statement.pause()):
        return
    statement.end()
    if statement.was_touched:
        # kept as the task's until the listener for errors has seen it
        statement.raised = statement.exceeded()
        raise statement.raised
    _remove(statement, task)


def forget(task: Task, connection: Connection) -> None:
    """What a connection executes for a task is over, however it has ended."""
    statement = _running_on(connection, task)
    if statement is not None:
        statement.end()
        _remove(statement, task)


def _on_error(context: ExceptionContext) -> BaseException | None:
    task, connection = running.task, context.connection
    if task is None or connection is None:
        return None
    if isinstance(context.original_exception, DeadlineExceeded):
        # It was not sent, unless the connection is found unclean below. (As a TimeoutError it
        # counts as one of asyncio's, after which nobody knows in what state a connection is.)
        context.is_disconnect = False
    statement = _running_on(connection, task)
    if statement is None:
        return None
    statement.end()
    _remove(statement, task)
    error = context.original_exception
    if not statement.is_clean(error):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False  # the other connections are as they were
    exceeded = statement.raised
    if exceeded is None and statement.accounts_for(error):
        exceeded = statement.exceeded()
    if exceeded is None:
        return None
    count("cut_off" if statement.was_cut else "stopped")
    return None if exceeded is error else exceeded


def _running_on(connection: Connection, task: Task) -> RunningStatement | None:
    """The innermost statement of a task that a connection executes."""
    statement = cast("RunningStatement | None", task.stopper)
    while statement is not None and (statement.connection is not connection or statement.is_paused):
        statement = statement.outer
    return statement


def end_all(task: Task) -> None:
    """A kept task is over: end the statements that others could have gone on in the place of."""
    statement = cast("RunningStatement | None", task.stopper)
    while statement is not None:
        statement.end()
        task.stopper = statement = statement.outer


def _end_paused(task: Task) -> None:
    """End the statements in whose place no other has gone on."""
    statement = cast("RunningStatement | None", task.stopper)
    while statement is not None and statement.is_paused:
        statement.end()
        task.stopper = statement = statement.outer


def _remove(statement: RunningStatement, task: Task) -> None:
    inner: Any = task.stopper
    if inner is statement:
        task.stopper = statement.outer
        return
    while inner is not None and inner.outer is not statement:
        inner = inner.outer
    if inner is not None:
        inner.outer = statement.outer
