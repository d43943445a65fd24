"""From ``DATABASE_URL`` to a URL that names one database, wherever the process was started."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from stack.data.errors import DatabaseURLError

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_FILE = ROOT / ".demo" / "flights.db"

_EXAMPLES = "such as sqlite:////path/to/flights.db or mysql://user:password@host/database"
_DRIVERS = {"mysqlclient": "MySQLdb", "PyMySQL": "pymysql", "mariadb": "mariadb"}


def parse_database_url(text: str | None) -> URL:
    """Return the database that ``text`` names; without text, the SQLite file of the demo.

    SQLite paths become absolute. MariaDB gets mysqlclient where no driver is named, and utf8mb4.

    Raises:
        DatabaseURLError: not a URL, no database named, an unknown kind of database, or its driver
            is not installed. The message never shows the text, which may hold a password.
    """
    if not text:
        return URL.create("sqlite", database=str(DEFAULT_FILE))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseURLError(f"DATABASE_URL is not a database URL {_EXAMPLES}") from None
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite":
        return _sqlite(url)
    if kind in {"mysql", "mariadb"}:
        return _mariadb(url)
    raise DatabaseURLError(
        f"DATABASE_URL names a database of the kind {kind!r}; "
        "this stack knows sqlite, mysql and mariadb"
    )


def with_password(url: URL, file: str | None) -> URL:
    """Return ``url`` with the password that ``file`` holds; ``url`` itself where none is named.

    A secret that is handed over as a file shows neither in the environment nor in the list of
    processes. A line break at its end does not count.

    Raises:
        DatabaseURLError: there is a password in ``url``, too, or the database has none; the file
            cannot be read, or is empty. The message never shows what it holds.
    """
    if not file:
        return url
    if url.get_backend_name() == "sqlite":
        raise DatabaseURLError("DATABASE_PASSWORD_FILE is set, but a SQLite file has no password")
    if url.password is not None:
        raise DatabaseURLError(
            "DATABASE_URL holds a password, and DATABASE_PASSWORD_FILE names another: keep one"
        )
    try:
        password = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DatabaseURLError(
            f"DATABASE_PASSWORD_FILE names {file}, which cannot be read: {reason}"
        ) from None
    if not password:
        raise DatabaseURLError(f"DATABASE_PASSWORD_FILE names {file}, which is empty")
    return url.set(password=password)


def database_file(url: URL) -> Path:
    """Return the file of a SQLite ``url``."""
    return Path(url.database or "")


def read_only(url: URL) -> URL:
    """Return a SQLite ``url`` that opens its file for reading, and never creates it."""
    path = quote(str(database_file(url)))
    return url.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})


def describe(url: URL) -> str:
    """Return the database in words for people and logs: no user, no password, no options."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {url.database}"
    host = url.host or "localhost"
    return f"MariaDB database {url.database!r} on {host}"


def _sqlite(url: URL) -> URL:
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise DatabaseURLError(
            f"DATABASE_URL names the driver {url.drivername!r}; "
            "for SQLite the one of the standard library is used: sqlite:////path/to/flights.db"
        )
    if url.database in {None, "", ":memory:"} or "mode" in url.query:
        raise DatabaseURLError(
            "DATABASE_URL names a SQLite database in memory, which no two connections share; "
            "name a file: sqlite:////path/to/flights.db"
        )
    if url.query or (url.database or "").startswith("file:"):
        raise DatabaseURLError(
            "DATABASE_URL has options after the SQLite file; "
            "name the file alone: sqlite:////path/to/flights.db"
        )
    return url.set(database=str(Path(url.database or "").expanduser().absolute()))


def _mariadb(url: URL) -> URL:
    if not url.database:
        raise DatabaseURLError(
            f"DATABASE_URL names no database after the host: use one {_EXAMPLES}"
        )
    if "+" not in url.drivername:
        url = url.set(drivername=f"{url.drivername}+mysqldb")
    if "charset" not in url.query:
        url = url.update_query_dict({"charset": "utf8mb4"})
    try:
        url.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise DatabaseURLError(
            f"DATABASE_URL names an unknown driver, {url.drivername!r}; mysql:// is enough"
        ) from None
    except ImportError as error:
        package = next((p for p, module in _DRIVERS.items() if module == error.name), None)
        remedy = f"pip install {package}" if package else f"cannot import it: {error}"
        raise DatabaseURLError(
            f"the driver of DATABASE_URL ({url.drivername}) is not installed: {remedy}"
        ) from None
    return url
