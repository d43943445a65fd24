"""What can go wrong with a database or the data, as one line for a person. Never a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError


class DataError(Exception):
    """The data could not be loaded. The message is one line that says what to do."""


class DatabaseURLError(ValueError):
    """``DATABASE_URL`` names no database that the stack can use. The message is one line."""


def one_line(text: object) -> str:
    """Return ``text`` with its line breaks and runs of blanks made single blanks."""
    return " ".join(str(text).split())


def database_message(error: DBAPIError) -> str:
    """Return what the database driver said, on one line, without statement or parameters.

    SQLAlchemy's own text carries the statement, its parameters and a link to a manual; the
    driver's carries the reason. MariaDB's drivers put the number of the error first.
    """
    reason = error.orig
    arguments = reason.args if reason is not None else ()
    if len(arguments) > 1 and isinstance(arguments[0], int):
        return f"{one_line(arguments[1])} (error {arguments[0]})"
    return one_line(reason)


def error_number(error: DBAPIError) -> int | None:
    """Return MariaDB's number of the error; ``None`` where the driver gives none (SQLite)."""
    arguments = error.orig.args if error.orig is not None else ()
    number = arguments[0] if arguments else None
    return number if isinstance(number, int) else None
