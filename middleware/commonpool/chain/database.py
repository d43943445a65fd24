"""What the database itself says of its limits, by one connection."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from commonpool.chain.hiding import STARS, without_password
from commonpool.chain.model import Database, Setting
from commonpool.chain.text_files import NotReadError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

SECONDS = 5
"""How long a server has to answer."""

_LONGEST = 300

_DRIVERS: Mapping[str, Mapping[str, str]] = {  # SQLAlchemy's name of a driver -> its module
    "mysql": {
        "mysqldb": "MySQLdb",
        "pymysql": "pymysql",
        "mysqlconnector": "mysql.connector",
        "mariadbconnector": "mariadb",
    },
    "postgresql": {
        "psycopg2": "psycopg2",
        "psycopg": "psycopg",
        "pg8000": "pg8000",
    },
}
_TIMEOUTS: Mapping[str, Sequence[str]] = {  # what each driver calls the seconds that it waits
    "mysqldb": ("connect_timeout", "read_timeout", "write_timeout"),
    "pymysql": ("connect_timeout", "read_timeout", "write_timeout"),
    "mysqlconnector": ("connection_timeout",),
    "mariadbconnector": ("connect_timeout", "read_timeout"),
    "psycopg2": ("connect_timeout",),
    "psycopg": ("connect_timeout",),
    "pg8000": ("timeout",),
}
_MYSQL = (
    *("max_connections", "wait_timeout", "interactive_timeout", "max_statement_time"),
    *("max_execution_time", "connect_timeout", "net_read_timeout", "net_write_timeout"),
    *("lock_wait_timeout", "innodb_lock_wait_timeout", "thread_handling", "max_allowed_packet"),
    *("extra_max_connections", "idle_transaction_timeout"),
)
_MYSQL_STATUS = ("Max_used_connections", "Threads_connected")
_POSTGRESQL = (
    *("max_connections", "superuser_reserved_connections", "reserved_connections"),
    *("idle_session_timeout", "idle_in_transaction_session_timeout", "statement_timeout"),
    *("lock_timeout", "tcp_keepalives_idle"),
)
_IN_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def read_database(given: str, seconds: int = SECONDS) -> Database:
    """The limits of a MariaDB, MySQL or PostgreSQL.

    Args:
        given: SQLAlchemy's URL of it; another driver is taken where the one that it names is not
            installed, or not for use without an event loop.
        seconds: that the server has for each of its answers.

    Returns:
        Its variables by their names; times are in seconds, whatever they are in there.

    Raises:
        NotReadError: SQLAlchemy or a driver is missing, the URL is none, or nobody answers to it.
    """
    hidden = without_password(given)
    try:
        from sqlalchemy import create_engine, make_url  # noqa: PLC0415 - it may be missing
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError  # noqa: PLC0415
        from sqlalchemy.pool import NullPool  # noqa: PLC0415
    except ImportError:
        message = "needs SQLAlchemy to be looked at: pip install 'commonpool[sqlalchemy]'"
        raise NotReadError("database", hidden, 0, message) from None
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        message = "is no URL of a database, such as mysql://user@host/name"
        raise NotReadError("database", _only_scheme(given), 0, message) from None
    hidden = without_password(url.render_as_string(hide_password=True))
    if "@" in (url.host or ""):
        message = "has an @ in its password, which is to be written as %40"
        raise NotReadError("database", _only_scheme(given), 0, message)
    if url.get_backend_name() == "sqlite":
        return Database(hidden, {"dialect": Setting("sqlite", "database")})
    url, driver = _with_driver(url, hidden)
    try:
        timeouts = dict.fromkeys(_TIMEOUTS[driver], seconds)
        engine = create_engine(url, poolclass=NullPool, connect_args=timeouts)
        with engine.connect() as connection:
            return Database(hidden, _variables(connection))
    except SQLAlchemyError as error:
        raise _failed(hidden, getattr(error, "orig", None) or error, url.password) from None
    except Exception as error:
        raise _failed(hidden, error, url.password) from None


def _with_driver(url: URL, hidden: str) -> tuple[URL, str]:
    backend = url.get_backend_name()
    family = "mysql" if backend == "mariadb" else backend
    known = _DRIVERS.get(family)
    if known is None:
        message = f"{backend} is no database that can be looked at: MariaDB, MySQL, PostgreSQL"
        raise NotReadError("database", hidden, 0, message)
    _, _, asked = url.drivername.partition("+")
    for name in (asked, *known):
        module = known.get(name)
        if module is not None and _is_installed(module):
            return url.set(drivername=f"{backend}+{name}"), name
    modules = ", ".join(known.values())
    message = f"needs a driver to be looked at, and none is installed: {modules}"
    raise NotReadError("database", hidden, 0, message)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _variables(connection: Connection) -> dict[str, Setting]:
    from sqlalchemy import text  # noqa: PLC0415 - as above

    if connection.dialect.name == "postgresql":
        found = _of_postgresql(connection, text)
    else:
        found = _of_mysql(connection, text)
    return {name: Setting(value, "database") for name, value in found.items()}


def _of_mysql(connection: Connection, text: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    names = ", ".join(f"'{name}'" for name in _MYSQL)
    for name, value in connection.execute(
        text(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    ):
        found[str(name)] = _number(value)
    names = ", ".join(f"'{name}'" for name in _MYSQL_STATUS)
    for name, value in connection.execute(
        text(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")
    ):
        found[str(name).lower()] = _number(value)
    version, limit = connection.execute(
        text("SELECT @@version, @@SESSION.max_user_connections")
    ).one()
    found["version"] = str(version)
    found["max_user_connections"] = _number(limit)
    found["dialect"] = "mariadb" if "mariadb" in str(version).lower() else "mysql"
    milliseconds = found.get("max_execution_time")
    if isinstance(milliseconds, int | float):
        found["max_execution_time"] = milliseconds / 1000
    return found


def _of_postgresql(connection: Connection, text: Any) -> dict[str, object]:
    found: dict[str, object] = {"dialect": "postgresql"}
    names = ", ".join(f"'{name}'" for name in _POSTGRESQL)
    for name, value, unit in connection.execute(
        text(f"SELECT name, setting, unit FROM pg_settings WHERE name IN ({names})")  # noqa: S608
    ):
        number = _number(value)
        if unit in _IN_SECONDS and isinstance(number, int | float):
            number = number * _IN_SECONDS[unit]
        found[str(name)] = number
    found["version"] = str(connection.execute(text("SHOW server_version")).scalar_one())
    limit = connection.execute(
        text("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")
    ).scalar()
    if isinstance(limit, int) and limit >= 0:
        found["max_user_connections"] = limit
    return found


def _number(value: object) -> object:
    text = str(value)
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return convert(text)
    return text


def _failed(hidden: str, error: object, password: object) -> NotReadError:
    words = str(error)
    if isinstance(error, BaseException) and len(error.args) > 1:
        words = str(error.args[1])  # the drivers' own: a number, and what it means
    words = " ".join(without_password(words).split())
    if password:
        words = words.replace(str(password), STARS)
    return NotReadError("database", hidden, 0, f"cannot be looked at: {words[:_LONGEST]}")


def _only_scheme(given: str) -> str:
    scheme, separator, _ = given.partition("://")
    return f"{scheme}://..." if separator and len(scheme) < 30 else "the URL"  # noqa: PLR2004
