"""Every test starts without a pool, and leaves no thread of one behind."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator

import pytest

from commonpool import CommonPool, PoolConfig, adapters, pace, process, testing
from commonpool.ext.asyncio.coroutines import coroutine_task
from tests.helpers import pool_threads, wait_until

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As what a shell runs in the background; what is started here would ignore Ctrl-C, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What thousands of tests are made of is not looked through whenever one of them collects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """No pool before the test, none after it, and no thread that outlives it."""
    testing.reset()
    yield
    testing.reset()
    wait_until(lambda: not pool_threads(), limit=15)


@pytest.fixture
def own_pace() -> None:
    """For a test in which callers may keep what is short, when the machine is busy."""


@pytest.fixture(autouse=True)
def _nothing_is_kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine does beside: else where tasks run would depend on it."""
    if "own_pace" not in request.fixturenames:
        monkeypatch.setattr(pace, "WORTH", 0.0)


@pytest.fixture
def coroutines() -> None:
    """For a test as after an import of `commonpool.ext.asyncio`."""


@pytest.fixture(params=[False, True], ids=["", "coroutines are tasks"])
def coroutines_or_none(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that is to give the same before that import and after."""
    if request.param:
        monkeypatch.setattr(adapters, "async_adapters", [coroutine_task])


@pytest.fixture(autouse=True)
def _coroutines_are_no_tasks(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without that import, which other tests may have made."""
    known = [coroutine_task] if "coroutines" in request.fixturenames else []
    monkeypatch.setattr(adapters, "async_adapters", known)


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
