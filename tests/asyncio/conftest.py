"""What the tests of coroutines ask for by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from commonpool import OwnerExecutor
from commonpool.owner import current


@pytest.fixture(autouse=True)
def _coroutines(coroutines: None) -> None:
    """All of these tests are as after an import of `commonpool.ext.asyncio`."""


@pytest.fixture
def request_executor() -> Iterator[Callable[..., OwnerExecutor]]:
    """Make the executor of a request, which is the current one until the test is over."""
    made: list[OwnerExecutor] = []
    token = current.set(None)

    def make(*args: float) -> OwnerExecutor:
        made.append(OwnerExecutor(*args))
        current.set(made[-1])
        return made[-1]

    yield make
    current.reset(token)
    for executor in made:
        executor.end()
