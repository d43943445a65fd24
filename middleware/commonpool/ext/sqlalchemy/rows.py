"""Rows: all of a statement's at once, and the objects of a result made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from traceback import walk_tb
from typing import Any

from sqlalchemy import ChunkedIteratorResult, Connection, CursorResult, Executable
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

from commonpool.ext.sqlalchemy import stopping
from commonpool.ext.sqlalchemy.statements import reason_in_sql
from commonpool.ext.sqlalchemy.stats import Reason
from commonpool.task import explainers

AWAY = "commonpool_away"
"""The execution option of statements that run on another connection than their session's own."""


class StaysAtHomeError(Exception):
    """The SQL of a statement shows what the statement itself did not."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def check_sql(sql: str, context: ExecutionContext) -> None:
    """Keep what is seen to stay at home only now: the SQL of a type or of a `column_property`."""
    if context.execution_options.get(AWAY):
        reason = reason_in_sql(sql)
        if reason is not None:
            raise StaysAtHomeError(reason)


def execute_buffered(
    connection: Connection, statement: Executable, parameters: Any, options: dict[str, Any]
) -> CursorResult[Any]:
    """Execute a statement, and fetch all its rows: the connection may be another's afterwards.

    Streams are buffered like everything else.
    """
    result = connection.execute(
        statement,
        parameters,
        execution_options={**options, "stream_results": False, stopping.BUFFERED: True},
    )
    cursor = result.context.cursor
    if cursor is not None:
        cursor.close()  # a driver may talk to the server for that: not when it is another's
    return result


def fetch(cursor: Any, context: Any) -> None:
    """Fetch the rows within the call that executes the statement."""
    if cursor.description is not None:
        context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(cursor, cursor.description)


def free_rows(error: BaseException) -> None:
    """Free, on this thread, the rows that the driver's calls in an error's traceback hold.

    Whoever has the error would free them later. For that mysqlclient locks their connection, and
    the statement that has it by then would be told that it is in use by another thread.
    """
    errors: list[BaseException | None] = [error]
    seen: set[BaseException] = set()
    while errors:
        one = errors.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        errors += (one.__cause__, one.__context__)
        for frame, _ in walk_tb(one.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("MySQLdb"):
                with suppress(RuntimeError):  # a call that goes on: the error was caught within it
                    frame.clear()


def install() -> None:
    """Listen to what tasks raise."""
    explainers.append(lambda _, error: free_rows(error))


def make_objects(result: Any) -> Any:
    """Have a result of a session make its objects now, not when they are fetched; the result.

    So what loads more for them (`selectinload`, say) does that now. `ChunkedIteratorResult` is
    what sessions return for entities, and documented to work from a function that gives chunks.
    """
    if isinstance(result, ChunkedIteratorResult):
        rows = iter(list(result.iterator))
        result.iterator = rows
        result.chunks = partial(chunks, rows)
    return result


def chunks(rows: Iterator[Any], size: int | None) -> Iterator[list[Any]]:
    """The rows that are left, in lists of a size; all in one for `None`."""
    while chunk := list(islice(rows, size)):
        yield chunk
