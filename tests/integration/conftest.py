"""Real servers: one MariaDB for all tests, with the data in it; uWSGI and nginx in front of it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from stack.native import servers
from stack.native.errors import NativeError
from stack.native.mariadb import MariaDB, mariadb
from stack.native.programs import find_program
from stack.native.servers import Site, load, run_folder
from tests.integration.helpers import new_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

LIMIT = 240  # seconds: whichever test comes first loads the data, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_the_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name == "DATABASE_URL" or name.startswith(("STACK_", "COMMONPOOL_", "UWSGI_")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def _programs() -> None:
    """Skip where a server is missing, but never in CI."""
    try:
        for program in ("nginx", "mariadbd", "mariadb-install-db"):
            find_program(program)
    except NativeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def database(_programs: None) -> Iterator[MariaDB]:
    """MariaDB with all the data."""
    with run_folder() as folder, run_folder() as run, mariadb(folder, run) as server:
        load(server.url, quiet=True)
        yield server


@pytest.fixture
def empty_database(_programs: None) -> Iterator[MariaDB]:
    """MariaDB without data, to be stopped and the like."""
    with run_folder() as folder, run_folder() as run, mariadb(folder, run) as server:
        yield server


@pytest.fixture(scope="session")
def site(database: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The stack with its own settings. Not to be stopped, or reloaded."""
    with servers.site(tmp_path_factory.mktemp("site"), database.url) as running:
        yield running


@pytest.fixture
def make_site(database: MariaDB, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a stack of one's own, with settings of one's own; it ends with the test."""
    with ExitStack() as stack:

        def make(url: str = database.url, **environ: str) -> Site:
            return stack.enter_context(servers.site(tmp_path / "site", url, environ=environ))

        yield make


@pytest.fixture(scope="session")
def client(site: Site) -> Iterator[httpx.Client]:
    """A client of nginx."""
    with new_client(site.nginx.url) as made:
        yield made
