"""Statements inside tasks are stopped in the database once their deadline has passed."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, event

from commonpool.errors import DeadlineExceeded
from commonpool.ext.sqlalchemy.limits import LIMIT_AFTER
from commonpool.ext.sqlalchemy.running_statement import RunningStatement, first_line
from commonpool.ext.sqlalchemy.servers import close_server, server_of
from commonpool.ext.sqlalchemy.stats import count
from commonpool.task import ABANDONED, Task, running

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext, ExecutionContext

BUFFERED = "commonpool_buffered"
"""An execution option: who sets it fetches all rows at once, and then calls `finished`."""

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
    if event.contains(Engine, "before_cursor_execute", _begin):
        return
    event.listen(Engine, "before_cursor_execute", _begin, retval=True)
    event.listen(Engine, "after_cursor_execute", _after)
    # before the listeners that may raise what they like: after those, nobody is asked
    event.listen(Engine, "handle_error", _on_error, insert=True)
    event.listen(Engine, "rollback", _forget)
    event.listen(Engine, "commit", _forget)
    event.listen(Engine, "engine_disposed", _on_disposal)


def finished(connection: Connection) -> None:
    """Say that a statement with the option `BUFFERED` is over, its rows fetched.

    To be called on the thread that executed it, from an `after_cursor_execute` listener.

    Raises:
        DeadlineExceeded: it was stopped, and has ended without saying so: what it returned may be
            wrong. The connection is invalidated when this is raised out of the listener.
    """
    task = running.task
    if task is None:
        return
    statement = _running_on(connection, task)
    if statement is None:
        return
    statement.end()
    if statement.was_touched:
        # kept as the task's until the listener for errors has seen it
        statement.raised = statement.exceeded()
        raise statement.raised
    _remove(statement, task)


def _begin(  # noqa: PLR0917 - as SQLAlchemy calls it
    connection: Connection,
    cursor: Any,  # noqa: ARG001
    text: str,
    parameters: Any,
    context: ExecutionContext,
    executemany: bool,  # noqa: ARG001, FBT001
) -> tuple[str, Any]:
    task = running.task
    if (
        task is None
        or _TRANSACTION_CONTROL.match(text)
        or (context is not None and _UNHANDLED in context.execution_options)
    ):
        return text, parameters
    fan_out = task.fan_out
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
    return limited, parameters


def _after(  # noqa: PLR0917 - as SQLAlchemy calls it
    connection: Connection,
    cursor: Any,  # noqa: ARG001
    text: str,  # noqa: ARG001
    parameters: Any,  # noqa: ARG001
    context: ExecutionContext,
    executemany: bool,  # noqa: ARG001, FBT001
) -> None:
    if running.task is None or (context is not None and context.execution_options.get(BUFFERED)):
        return
    finished(connection)


def _on_error(context: ExceptionContext) -> BaseException | None:
    task, connection = running.task, context.connection
    if task is None or connection is None:
        return None
    statement = _running_on(connection, task)
    if statement is None:
        if isinstance(context.original_exception, DeadlineExceeded):
            # It was not sent. (As a TimeoutError it counts as one of asyncio's, after which
            # nobody knows in what state a connection is.)
            context.is_disconnect = False
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


def _forget(connection: Connection) -> None:
    """The statement of a transaction that ends is over, even if no listener was told of that."""
    task = running.task
    if task is not None and task.stopper is not None:
        while (statement := _running_on(connection, task)) is not None:
            statement.end()
            _remove(statement, task)


def _on_disposal(engine: Engine) -> None:
    close_server(engine.dialect)


def _running_on(connection: Connection, task: Task) -> RunningStatement | None:
    """The innermost statement of a task that a connection executes."""
    statement = cast("RunningStatement | None", task.stopper)
    while statement is not None and statement.connection is not connection:
        statement = statement.outer
    return statement


def _remove(statement: RunningStatement, task: Task) -> None:
    inner: Any = task.stopper
    if inner is statement:
        task.stopper = statement.outer
        return
    while inner is not None and inner.outer is not statement:
        inner = inner.outer
    if inner is not None:
        inner.outer = statement.outer
