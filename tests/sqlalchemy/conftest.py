"""Each test on SQLite, MariaDB with two drivers, and PostgreSQL: servers that are started here.

A test that takes `database`, `engine`, `make_engine` or `session` runs on each of them, or on those
that its marker names: ``@pytest.mark.databases("sqlite", "mariadb")``, names or families. It finds
the rows of `tests.sqlalchemy.models`, whatever the test before it did.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.orm import Session

import commonpool.ext.sqlalchemy.flask_sqlalchemy  # noqa: F401 - registers once, when imported
from commonpool.ext.sqlalchemy import scoped, session_providers, sessions
from commonpool.task import context_providers
from stack.native.errors import NativeError
from stack.native.mariadb import MariaDB, mariadb
from stack.native.postgresql import PostgreSQL, postgresql
from stack.native.servers import run_folder
from tests.sqlalchemy import models
from tests.sqlalchemy.databases import (
    Database,
    chosen,
    end_other_connections,
    family,
    missing_driver,
    required,
    wanted,
)
from tests.sqlalchemy.replication import Replication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 240  # seconds: whichever test comes first starts a server, too

REQUIRED = required()


def pytest_configure(config: pytest.Config) -> None:
    # True, and harmless with two digits after the point.
    config.addinivalue_line("filterwarnings", r"ignore:Dialect sqlite\+pysqlite does \*not\*")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "sqlalchemy" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("databases")
        metafunc.parametrize("database", wanted(marker.args if marker else ()), indirect=True)


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_the_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PG", "COMMONPOOL_")):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:
    registries = (session_providers, context_providers, scoped._registered, sessions._prepare)  # noqa: SLF001 - applications never take anything back
    before = [list(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry[:] = entries


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all the tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _create(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """MariaDB with all the tables."""
    with ExitStack() as stack:
        folder, run = stack.enter_context(run_folder()), stack.enter_context(run_folder())
        try:
            server = stack.enter_context(mariadb(folder, run))
        except NativeError as error:
            _missing(str(error), "mariadb")
        _create(_with_installed_driver(server.url, "mariadb"))
        yield server


@pytest.fixture(scope="session")
def two_mariadb_servers() -> Iterator[Replication]:
    """MariaDB with all the tables, and a replica of it."""
    if module := missing_driver("mariadb-mysqlclient"):
        _missing(f"the module {module} is not installed", "mariadb-mysqlclient")
    with ExitStack() as stack:
        try:
            servers = Replication(stack)
        except NativeError as error:
            _missing(str(error), "mariadb")
        yield servers


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """PostgreSQL with all the tables."""
    with ExitStack() as stack:
        folder, run = stack.enter_context(run_folder()), stack.enter_context(run_folder())
        try:
            server = stack.enter_context(postgresql(folder, run))
        except NativeError as error:
            _missing(str(error), "postgresql")
        _create(server.url)
        yield server


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with its tables, each row as it was made; it is one of several in turn."""
    name: str = request.param
    if module := missing_driver(name):
        _missing(f"the module {module} is not installed", name)
    if family(name) == "sqlite":
        path = tmp_path / "test.db"
        shutil.copyfile(request.getfixturevalue("sqlite_file"), path)
        with ExitStack() as cleanup:
            yield Database(name, f"sqlite:///{path}", "sqlite", cleanup)
        return
    server = request.getfixturevalue(f"{family(name)}_server")
    # One way through the UNIX socket, the others over TCP.
    url = server.tcp_url if name == "mariadb-pymysql" else server.url
    url = _with_driver(url, name)
    with ExitStack() as cleanup:
        yield Database(name, url, family(name), cleanup)
    engine = create_engine(url)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        end_other_connections(connection)
    with engine.begin() as connection:
        models.restore(connection)
    engine.dispose()


@pytest.fixture
def make_engine(database: Database) -> Callable[..., Engine]:
    """Makes an engine with options of one's own; it is disposed at the test's end."""
    return database.make_engine


@pytest.fixture
def engine(database: Database) -> Engine:
    """An engine as `create_engine` makes it: five connections, and ten in need."""
    return database.make_engine()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A plain session on `engine`."""
    with Session(engine) as session:
        yield session


def _create(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        models.create(connection)
    engine.dispose()


def _with_driver(url: str, name: str) -> str:
    if name == "mariadb-pymysql":
        # prepared for TLS, it reads all certificates of the system for each connection
        address = make_url(url).set(drivername="mysql+pymysql")
        address = address.update_query_dict({"ssl_disabled": "true"})
        return address.render_as_string(hide_password=False)
    return url


def _with_installed_driver(url: str, system: str) -> str:
    return next(_with_driver(url, name) for name in chosen([system]) if not missing_driver(name))


def _missing(reason: str, name: str) -> None:
    """Skip, unless it is something that must be there."""
    if set(chosen([name])) & set(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)
