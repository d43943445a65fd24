"""The databases, an engine's statements kept to their deadlines, and the pool they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from commonpool import CommonPool
    from tests.sqlalchemy.databases import Database


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
