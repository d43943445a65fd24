"""Servers of their own for the fault tests: whatever a test does to one, the next finds it well."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from stack.native.errors import NativeError
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.sqlalchemy.databases import chosen, required

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 240  # seconds: whichever test comes first starts a server, too

REQUIRED = required()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_the_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name == "DATABASE_URL" or name.startswith(("PG", "STACK_", "COMMONPOOL_", "UWSGI_")):
                patch.delenv(name)
        yield


def started(family: str, cleanup: ExitStack) -> Server:
    """A server, where its programs are installed."""
    try:
        return Server.started(family, cleanup)
    except NativeError as error:
        if set(chosen([family])) & set(REQUIRED):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """MariaDB, for these tests alone."""
    with ExitStack() as cleanup:
        yield started("mariadb", cleanup)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """PostgreSQL, for these tests alone."""
    with ExitStack() as cleanup:
        yield started("postgresql", cleanup)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """What stands between the engines of a test and its server."""
    with Proxy(server.port) as running:
        yield running
