"""What databases say of themselves, and what becomes of one that says nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from commonpool.chain.database import read_database
from commonpool.chain.text_files import NotReadError
from stack.native.mariadb import MariaDB
from stack.native.postgresql import PostgreSQL

SECRET = "s3cret-word"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def message(url: str) -> str:
    with pytest.raises(NotReadError) as caught:
        read_database(url, seconds=2)
    found = caught.value.unreadable
    assert found.what == "database"
    whole = f"{found.file} {found.message}"
    assert SECRET not in whole
    assert "\n" not in whole
    return found.message


@pytest.mark.parametrize(
    "driver", ["mysql+mysqldb", "mysql+pymysql", "mysql", "mariadb", "mysql+asyncmy"]
)
def test_mariadb_tells_its_limits(mariadb_server: MariaDB, driver: str) -> None:
    url = make_url(mariadb_server.tcp_url).set(drivername=driver)
    database = read_database(url.render_as_string(hide_password=False))

    values = {name: setting.value for name, setting in database.variables.items()}
    assert values["dialect"] == "mariadb"
    assert "MariaDB" in values["version"]
    assert values["max_connections"] > 1
    assert values["wait_timeout"] == 28_800
    assert values["interactive_timeout"] == 28_800
    assert values["max_statement_time"] == 0
    assert values["max_user_connections"] == 0
    assert values["threads_connected"] >= 1
    assert mariadb_server.password not in database.url
    assert {setting.file for setting in database.variables.values()} == {"database"}


def test_over_a_socket_too(mariadb_server: MariaDB) -> None:
    assert read_database(mariadb_server.url).variables["dialect"].value == "mariadb"


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql", "postgresql+asyncpg"])
def test_postgresql_tells_its_limits(postgresql_server: PostgreSQL, driver: str) -> None:
    url = make_url(postgresql_server.url).set(drivername=driver)
    database = read_database(url.render_as_string(hide_password=False))

    values = {name: setting.value for name, setting in database.variables.items()}
    assert values["dialect"] == "postgresql"
    assert int(values["version"].partition(".")[0]) >= 13
    assert values["max_connections"] > 1
    assert values["superuser_reserved_connections"] == 3
    assert values["statement_timeout"] == 0
    assert postgresql_server.password not in database.url


def test_a_wrong_password_is_one_line_without_it(mariadb_server: MariaDB) -> None:
    url = make_url(mariadb_server.tcp_url).set(password=SECRET)

    said = message(url.render_as_string(hide_password=False))

    assert "Access denied" in said


def test_a_wrong_password_for_postgresql_too(postgresql_server: PostgreSQL) -> None:
    url = make_url(postgresql_server.url).set(password=SECRET)

    said = message(url.render_as_string(hide_password=False))

    assert "password authentication failed" in said


@pytest.mark.parametrize("scheme", ["mysql+mysqldb", "mysql+pymysql", "postgresql+psycopg"])
def test_a_server_that_says_nothing_is_given_up(scheme: str, silent_port: int) -> None:
    begin = time.monotonic()

    message(f"{scheme}://user:{SECRET}@127.0.0.1:{silent_port}/name")

    assert time.monotonic() - begin < 25


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_nobody_there_is_one_line(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert "cannot be looked at" in message(f"{scheme}://user:{SECRET}@127.0.0.1:{port}/name")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"user:{SECRET}@host",
        f"mysql://user:{SECRET}@host:port/name",
        f"oracle://user:{SECRET}@host/name",
        f"mysql://user:p@{SECRET}@host:1/name\n",
        "://",
    ],
)
def test_what_is_no_url_of_a_database_is_one_line(url: str) -> None:
    message(url)


def test_a_file_has_no_limits_to_tell() -> None:
    database = read_database("sqlite:////srv/data.db")

    assert {name: one.value for name, one in database.variables.items()} == {"dialect": "sqlite"}
