"""The databases, an engine's statements kept to their deadlines, and the pool they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commonpool import CommonPool, PoolConfig, process
from commonpool.ext.sqlalchemy import stopping
from tests.sqlalchemy.conftest import (  # noqa: F401
    _nothing_from_the_environment,
    database,
    make_engine,
    mariadb_server,
    postgresql_server,
    pytest_configure,
    pytest_generate_tests,
    sqlite_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.sqlalchemy.databases import Database

LIMIT = 240  # seconds: whichever test comes first starts a server, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "sqlalchemy_stopping" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    stopping.install()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., CommonPool]]:
    """Make the process's pool with these knobs; it is closed after the test."""
    pools: list[CommonPool] = []

    def make(**knobs: object) -> CommonPool:
        process.reset()
        process.configure(PoolConfig(**knobs))
        pools.append(process.current_pool())
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(1)
    process.reset()


@pytest.fixture
def pool(make_pool: Callable[..., CommonPool]) -> CommonPool:
    """A pool with workers enough."""
    return make_pool(max_workers=4)


@pytest.fixture
def engine(database: Database) -> Engine:  # noqa: F811 - the fixture of that name
    """An engine that has a connection already: a deadline is for the statement, not for that."""
    engine = database.make_engine()
    with engine.connect():
        return engine
