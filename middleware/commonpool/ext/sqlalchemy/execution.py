"""Execution: what is done about each statement that an engine executes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExecutionContext

from commonpool.ext.sqlalchemy import engines, replicas, rows, sessions, stopping
from commonpool.ext.sqlalchemy.sessions import Leaves
from commonpool.task import Task, running

HOW = ("do_execute", "do_executemany", "do_execute_no_params")
"""How a dialect executes a statement: one with parameters, with many, with none at all."""


def install() -> None:
    """Be what executes the statements of all engines.

    These are events of dialects. With one of a connection's (`before_cursor_execute`, say, or
    `commit`) on all engines SQLAlchemy goes a longer way with every statement, which costs a
    sixth more of Python's instructions.
    """
    for how in HOW:
        event.listen(Engine, how, _Execution(how), insert=True)


class _Execution:
    """What executes statements in one of a dialect's ways; first of all that listen for it.

    Args:
        how: the dialect's method, and the event.
    """

    def __init__(self, how: str) -> None:
        self._how = how

    def __call__(self, *arguments: Any) -> bool | None:
        context: ExecutionContext = arguments[-1]
        task = running.task
        connection = context.root_connection
        if replicas.replicas:
            replicas.note(connection, context)
        if (
            task is not None
            and task.keeps_statements
            and sessions.left_by_it(context) is Leaves.NOTHING
        ):
            limited = stopping.go_on(task, connection, arguments[1], context)
            if limited is not None:
                self._execute(limited, arguments, context)
                if not stopping.pause(task, connection, context):
                    self._finish(task, arguments[0], context)
                return True
        if connection.get_transaction() is None:  # SQLAlchemy itself asks, with a first connection
            engines.note_engine(connection.engine)
            return None
        if not sessions.check_execution(connection, task, context):
            engines.note_use(connection, task)
        if task is None:
            return None
        rows.check_sql(arguments[1], context)
        limited = stopping.begin(task, connection, arguments[1], context)
        try:
            self._execute(limited, arguments, context)
        except Exception:  # the listener for errors is asked about it
            raise
        except BaseException:
            stopping.forget(task, connection)
            raise
        self._finish(task, arguments[0], context)
        return True

    def _execute(self, text: str, arguments: tuple[Any, ...], context: ExecutionContext) -> None:
        """Have it done by who listens after this, or by the dialect."""
        cursor, _, *others = arguments
        dialect: Any = context.dialect
        listeners = getattr(dialect.dispatch, self._how)
        if len(listeners) > 1:
            for listener in listeners:
                if listener is not self and listener(cursor, text, *others):
                    return
        getattr(dialect, self._how)(cursor, text, *others)

    def _finish(self, task: Task, cursor: Any, context: ExecutionContext) -> None:
        """It was executed: fetch its rows if that is asked for."""
        connection = context.root_connection
        if task.keeps_statements and stopping.pause(task, connection, context):
            return
        if stopping.is_buffered(task, context):
            rows.fetch(cursor, context)
        stopping.finish(task, connection)
