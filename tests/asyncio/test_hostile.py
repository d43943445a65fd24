"""What coroutines do that nobody should, and what comes at the wrong moment: nothing hangs."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import wait
from functools import partial
from typing import Any

import pytest

from commonpool import DeadlineExceeded, current_executor, run_in_parallel
from commonpool.ext.asyncio import coroutines, run_in_parallel_async
from commonpool.process import current_pool
from tests.asyncio.helpers import AsyncGate
from tests.helpers import run_python, wait_until


async def seven() -> int:
    return 7


async def fails() -> None:
    raise LookupError("no such thing")


@pytest.fixture
def no_warnings() -> Iterator[None]:
    """That a coroutine was never awaited is a warning when it is collected."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in seen] == []


def test_what_a_coroutine_has_started_cannot_end_the_loop(make_pool, caplog):
    make_pool(max_workers=1)

    async def leave() -> None:
        raise SystemExit(3)

    async def starts() -> str:
        task = asyncio.create_task(leave())
        try:
            await task
        except SystemExit:
            return "caught"
        return "not raised"

    assert run_in_parallel([starts]) == ["caught"]
    assert run_in_parallel([seven]) == [7]
    assert "would have ended it" in caplog.text


def test_nobody_stops_the_loop_of_all_requests(make_pool, caplog):
    make_pool(max_workers=1)

    async def stop() -> None:
        asyncio.get_running_loop().stop()

    run_in_parallel([stop])
    assert run_in_parallel([seven]) == [7]
    wait_until(lambda: "it goes on" in caplog.text)


def test_the_only_worker_waits_for_a_coroutine_that_waits_for_one_it_has_submitted(make_pool):
    make_pool(max_workers=1)

    async def needs_worker() -> list[int]:
        return await run_in_parallel_async([lambda: 1, lambda: 2])

    async def submits() -> list[int]:
        future = current_executor().submit(needs_worker)
        return await asyncio.wrap_future(future)

    future = current_executor().submit(lambda: run_in_parallel([submits]))
    assert wait([future], timeout=20).done
    assert future.result() == [[1, 2]]


def test_the_future_of_a_coroutine_of_another_process_is_refused_in_a_forked_one():
    done = run_python(
        """
        import asyncio, os
        import commonpool.ext.asyncio
        from commonpool import PoolClosed, current_executor

        future = current_executor().submit(asyncio.sleep, 0.5, "slept")
        child = os.fork()
        if not child:
            try:
                future.result()
            except PoolClosed:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print(future.result())
        """
    )
    assert (done.stdout, done.stderr) == ("slept\n", "")


def test_a_coroutine_that_asks_again_and_again_keeps_nothing_of_it(make_pool):
    make_pool(max_workers=1)
    lent: list[int] = []

    async def asks() -> None:
        fan_out = coroutines.inside.get().fan_out
        for _ in range(50):
            await run_in_parallel_async([seven, *[lambda: None] * 3])
            lent.append(len(fan_out.lent or ()))

    current_executor().submit(asks).result(30)  # with a limit, nobody helps
    assert max(lent) <= 2


class TestWhereThePoolIsClosed:
    """Coroutines run where they are awaited, and follow the same rules."""

    @pytest.fixture(autouse=True)
    def _closed(self, make_pool) -> None:
        make_pool(max_workers=1).close()

    def test_nothing_leaks_into_the_coroutine_that_awaits(self):
        name = contextvars.ContextVar("name", default="nobody")

        async def rename() -> None:
            name.set("task")

        async def main() -> list[Any]:
            await run_in_parallel_async([rename], timeout=0.05)
            await asyncio.sleep(0.1)
            return [name.get(), await run_in_parallel_async([seven])]

        assert asyncio.run(main()) == ["nobody", [7]]

    @pytest.mark.usefixtures("no_warnings")
    def test_the_first_failure_ends_it(self):
        ran = []

        async def note() -> None:
            ran.append(True)

        with pytest.raises(LookupError):
            asyncio.run(run_in_parallel_async([fails, note, seven()]))
        assert not ran

    @pytest.mark.usefixtures("no_warnings")
    def test_a_timeout_ends_it(self):
        with AsyncGate() as gate, pytest.raises(DeadlineExceeded):
            asyncio.run(run_in_parallel_async([gate, seven()], timeout=0.05))
        assert gate.cancelled == 1

    @pytest.mark.usefixtures("no_warnings")
    def test_who_is_cancelled_closes_what_has_not_begun(self):
        async def main() -> None:
            waiting = asyncio.ensure_future(run_in_parallel_async([gate, seven()]))
            await asyncio.to_thread(wait_until, lambda: gate.inside)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        with AsyncGate() as gate:
            asyncio.run(main())

    @pytest.mark.usefixtures("no_warnings")
    def test_a_failure_in_a_sequential_fan_out_closes_what_has_not_begun(self):
        with pytest.raises(LookupError):
            run_in_parallel([fails, seven(), seven()])


@pytest.mark.usefixtures("no_warnings")
def test_a_wrong_timeout_leaves_no_coroutine_behind(make_pool):
    make_pool(max_workers=1)
    with pytest.raises(ValueError, match="timeout"):
        run_in_parallel([seven()], timeout=-1)
    with pytest.raises(ValueError, match="timeout"):
        asyncio.run(run_in_parallel_async([seven()], timeout=-1))


def test_errors_that_are_returned_are_not_logged_as_unread(make_pool, caplog):
    make_pool(max_workers=1)

    def boom() -> None:
        raise LookupError

    error, one = asyncio.run(run_in_parallel_async([boom, lambda: 1], return_exceptions=True))
    del error
    gc.collect()
    assert one == 1
    assert caplog.text == ""


@pytest.mark.parametrize("way", ["submit", "background"])
def test_a_future_that_is_cancelled_says_nothing_in_the_log(make_pool, caplog, way):
    make_pool(max_workers=1)
    caplog.set_level(logging.INFO)
    with AsyncGate() as gate:
        future = getattr(current_executor(), way)(gate)
        wait_until(lambda: gate.inside == 1)
        assert future.cancel()
        wait_until(lambda: not current_pool().stats().coroutines)
    assert caplog.text == ""


def test_one_coroutine_twice_is_an_error_and_no_hang(make_pool):
    make_pool(max_workers=1, max_coroutines=1)
    with AsyncGate() as gate:
        stuck = current_executor().submit(gate)
        wait_until(lambda: gate.inside == 1)
        coroutine = seven()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            run_in_parallel([coroutine, coroutine])
        assert not stuck.done()


def test_what_can_be_called_is_called_even_if_it_can_be_awaited(make_pool):
    make_pool(max_workers=1)

    class Proxy:
        def __call__(self) -> int:
            return os.getpid()

        def __await__(self) -> Iterator[Any]:
            raise AssertionError("nobody awaits it")

    assert run_in_parallel([Proxy(), partial(Proxy())]) == [os.getpid()] * 2
