"""Execution: what is done before and after each statement that an engine executes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExecutionContext

from commonpool.ext.sqlalchemy import rows, sessions, stopping
from commonpool.task import running


def install() -> None:
    """Listen to all engines.

    With one listener for all that there is to do: SQLAlchemy calls each by way of a function of
    its own.
    """
    event.listen(Engine, "before_cursor_execute", _before, retval=True)
    event.listen(Engine, "after_cursor_execute", _after)


def _before(  # noqa: PLR0917 - as SQLAlchemy calls it
    connection: Connection,
    cursor: Any,  # noqa: ARG001
    text: str,
    parameters: Any,
    context: ExecutionContext | None,
    executemany: bool,  # noqa: ARG001, FBT001
) -> tuple[str, Any]:
    task = running.task
    if task is not None and task.is_kept:
        limited = stopping.go_on(task, connection, text, context)
        if limited is not None:
            return limited, parameters
    sessions.check_connection(connection, task)
    if task is None:
        return text, parameters
    if context is not None:
        rows.check_sql(text, context)
    return stopping.begin(task, connection, text, context), parameters


def _after(  # noqa: PLR0917 - as SQLAlchemy calls it
    connection: Connection,
    cursor: Any,
    text: str,
    parameters: Any,  # noqa: ARG001
    context: ExecutionContext | None,
    executemany: bool,  # noqa: ARG001, FBT001
) -> None:
    sessions.note_write(connection, text, context)
    task = running.task
    if task is None:
        return
    if task.is_kept and stopping.pause(task, connection, context):
        return
    if context is not None and stopping.is_buffered(task, context):
        rows.fetch(cursor, context)
    stopping.finish(task, connection)
