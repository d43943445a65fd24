"""Pools of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from commonpool import CommonPool, PoolConfig, process


@pytest.fixture
def make_pool() -> Iterator[Callable[..., CommonPool]]:
    """Make the process's pool with these knobs; it is closed before the next is made."""

    def make(**knobs: object) -> CommonPool:
        process.reset()
        process.configure(PoolConfig(**knobs))
        return process.current_pool()

    yield make
    process.reset()
