"""The application's settings, from environment variables. A bad value is an error at start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from stack.data.errors import DatabaseURLError
from stack.data.urls import parse_database_url, with_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import URL


class SettingsError(ValueError):
    """A setting is wrong. The message is one line: the name, the value, what would be right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What can be set.

    Attributes:
        database_url: ``DATABASE_URL``; the demo's SQLite file by default. Its password may be in a
            file of its own, which ``DATABASE_PASSWORD_FILE`` names.
        latency_ms: ``STACK_DB_LATENCY_MS``, 0 to 10,000: milliseconds added to every statement,
            to imitate a database across a network. None by default.
        pool_size: ``STACK_POOL_SIZE``, 1 to 1,000: connections that this process keeps. By
            default one for each worker of commonpool (``COMMONPOOL_MAX_WORKERS``, 32).
        max_overflow: ``STACK_MAX_OVERFLOW``, 0 to 1,000: connections beyond these. By default one
            for each request thread of a process (``STACK_THREADS``, 8, as in ``uwsgi.ini``).
        statement_seconds: ``STACK_STATEMENT_SECONDS``, above 0 to 3,600: after how many seconds
            MariaDB stops a statement. 28 by default: above the deadline that commonpool takes
            from a ``harakiri`` of 30 (nine tenths: 27), and below the ``harakiri`` itself.

    ``pool_size + max_overflow`` is worker threads + request threads: while a request waits for
    its tasks it runs some of them itself, so each of both kinds of threads may need a connection
    at the same moment. Times processes, times hosts, it has to stay below MariaDB's
    ``max_connections`` (151 by default).
    """

    database_url: URL
    latency_ms: int = 0
    pool_size: int = 32
    max_overflow: int = 8
    statement_seconds: float = 28.0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that ``values``, such as ``os.environ``, hold.

        Raises:
            SettingsError: a value is out of range or of the wrong kind.
        """
        try:
            database_url = with_password(
                parse_database_url(values.get("DATABASE_URL")), values.get("DATABASE_PASSWORD_FILE")
            )
        except DatabaseURLError as error:
            raise SettingsError(str(error)) from None
        workers = whole(values, "COMMONPOOL_MAX_WORKERS", default=32, least=1, most=1_000)
        threads = whole(values, "STACK_THREADS", default=8, least=1, most=1_000)
        return cls(
            database_url=database_url,
            latency_ms=whole(values, "STACK_DB_LATENCY_MS", default=0, least=0, most=10_000),
            pool_size=whole(values, "STACK_POOL_SIZE", default=workers, least=1, most=1_000),
            max_overflow=whole(values, "STACK_MAX_OVERFLOW", default=threads, least=0, most=1_000),
            statement_seconds=_seconds(values, "STACK_STATEMENT_SECONDS", default=28.0, most=3600),
        )


def whole(values: Mapping[str, Any], name: str, *, default: int, least: int, most: int) -> int:
    """Return the whole number that ``values`` has under ``name``; ``default`` where that is empty.

    Raises:
        SettingsError: it is no whole number from ``least`` to ``most``.
    """
    given = values.get(name, "")
    if given == "":
        return default
    try:
        number = int(str(given))
    except ValueError:
        number = least - 1
    if least <= number <= most:
        return number
    raise SettingsError(f"{name} is {given!r}; it must be a whole number from {least} to {most}")


def _seconds(values: Mapping[str, Any], name: str, *, default: float, most: float) -> float:
    given = values.get(name, "")
    if given == "":
        return default
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if 0 < number <= most:
        return number
    raise SettingsError(f"{name} is {given!r}; it must be seconds, above 0 and at most {most:g}")
