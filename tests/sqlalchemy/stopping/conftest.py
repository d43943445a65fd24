"""The databases, an engine's statements kept to their deadlines, and the pool they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commonpool import CommonPool, PoolConfig, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.sqlalchemy.databases import Database


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
def engine(database: Database) -> Engine:
    """An engine that has a connection already: a deadline is for the statement, not for that."""
    engine = database.make_engine()
    with engine.connect():
        return engine
