"""Pools of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from commonpool import CommonPool, OwnerExecutor, PoolConfig, process


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


@pytest.fixture
def request_executor() -> Iterator[Callable[..., OwnerExecutor]]:
    """Make the executor of a request; it is ended after the test."""
    executors: list[OwnerExecutor] = []

    def make(*args: float) -> OwnerExecutor:
        executors.append(OwnerExecutor(*args))
        return executors[-1]

    yield make
    for executor in executors:
        executor.end()
