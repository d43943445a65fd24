"""How long the database itself lets one statement run."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Seconds after the deadline: a server's own limit must not be the first to speak where the deadline
# is what an application goes by.
LIMIT_AFTER = 0.1

_READS = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)
_SELECT = re.compile(r"\s*SELECT\b(?!\s*/\*\+)", re.IGNORECASE)


def mariadb_limited(statement: str, seconds: float) -> str:
    """A statement for MariaDB with a limit of its own; as it was unless it begins as a query.

    A shorter `max_statement_time` of the session is kept.

    Args:
        statement: its text.
        seconds: how long it may run; 1 ms at least, since 0 means without a limit.
    """
    if not _READS.match(statement):
        return statement
    limit = f"{max(seconds, 0.001):.3f}"
    return (
        "SET STATEMENT max_statement_time=IF(@@max_statement_time=0,"
        f"{limit},LEAST(@@max_statement_time,{limit})) FOR {statement}"
    )


def mysql_limited(statement: str, seconds: float) -> str:
    """The same for MySQL, which knows of a limit for SELECT alone, as a hint.

    A statement that has a hint already is left as it is: a second would be ignored. MySQL takes a
    constant alone there, so it is not compared with a `max_execution_time` of the session.
    """
    match = _SELECT.match(statement)
    if match is None:
        return statement
    end = match.end()
    return f"{statement[:end]} /*+ MAX_EXECUTION_TIME({_milliseconds(seconds)}) */{statement[end:]}"


def limit_on_server(connection: Connection, seconds: float) -> None:
    """Limit what runs in the present transaction of a connection, where that takes a statement.

    For a connection that is used for one statement: PostgreSQL has no limit in the text of a
    statement, and this one holds to the end of the transaction (without one, in AUTOCOMMIT, there
    is none). A shorter `statement_timeout` of the session is kept. Elsewhere nothing is done.

    Args:
        connection: one for the calling thread alone.
        seconds: until the deadline; `math.inf` for no limit. It may run for `LIMIT_AFTER` more.
    """
    if connection.dialect.name != "postgresql" or seconds == math.inf:
        return
    limit = _milliseconds(seconds + LIMIT_AFTER)
    connection.exec_driver_sql(
        "SELECT set_config('statement_timeout', least(nullif(extract(epoch FROM "  # noqa: S608 - a number
        "current_setting('statement_timeout')::interval) * 1000, 0), "
        f"{limit})::bigint::text, true)",
        execution_options={"stream_results": False},
    ).close()


def _milliseconds(seconds: float) -> int:
    return max(math.ceil(seconds * 1000), 1)
