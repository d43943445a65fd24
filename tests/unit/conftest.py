"""What a test asks for by name: requests, ways to send them, a watcher and its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from commonpool import OwnerExecutor
from commonpool.watcher import Watcher
from tests.unit.watcher_helpers import Clock
from tests.unit.wsgi_helpers import Way


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
