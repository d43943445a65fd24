"""What a test asks for by name: pools of its own, ways to send a request, a watcher's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from commonpool import CommonPool, OwnerExecutor, PoolConfig, process
from commonpool.watcher import Watcher
from tests.unit.watcher_helpers import Clock
from tests.unit.wsgi_helpers import Way


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


@pytest.fixture(params=["directly", "between validators", "through a real server"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each of the ways to put an application behind the middleware, and to send it a request."""
    return Way(request.param)


@pytest.fixture
def clock() -> Clock:
    """A clock that goes when it is told to."""
    return Clock()


@pytest.fixture
def watcher(clock: Clock) -> Iterator[Watcher]:
    """A watcher on that clock; it is closed after the test."""
    watcher = Watcher(clock)
    yield watcher
    watcher.close(10)
