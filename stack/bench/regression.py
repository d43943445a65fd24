"""Whether the pool costs more than it did: what does not depend on the machine, beside a record."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Result, Select, create_engine, literal, select
from sqlalchemy.orm import Session

import commonpool.ext.sqlalchemy  # noqa: F401 - statements are tasks from now on
from commonpool import CommonPoolMiddleware, OwnerExecutor, run_in_parallel
from commonpool.owner import current
from commonpool.task import FanOut, Owner, Task
from stack.bench.counting import CountedPool, bytes_of
from stack.bench.footprint import application

RECORD = Path(__file__).with_name("record.json")
"""What each thing has cost, by the version of Python: each has instructions of its own."""

MOST = 1.1
"""How many times the recorded number a thing may cost."""

TASKS = 20
STATEMENTS = 5
WAITING = 2_000

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

Numbers = dict[str, int]


def measure() -> Numbers:
    """All numbers, by what they are of."""
    return {
        **_counted("20 tasks, run by their caller", _busy_pool, _fan_out),
        **_counted("20 tasks, kept by their caller", _pool_that_comes_late, _fan_out),
        **_counted("20 tasks, all at once", _free_pool, _fan_out_that_meets),
        **_added("5 statements, run by their caller", _busy_pool, _statements, _sequential),
        **_added(
            "5 statements, kept by their caller", _pool_that_comes_late, _statements, _sequential
        ),
        **_counted("a request that does not use the pool", _busy_pool, _request),
        "a task that waits: bytes": _waiting_task(),
    }


def recorded() -> Numbers | None:
    """What was recorded for this Python; `None` if nothing was."""
    record: dict[str, Numbers] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record.get(PYTHON)


def record(numbers: Numbers) -> None:
    """Keep numbers as those of this Python."""
    everything = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    everything[PYTHON] = numbers
    RECORD.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def grown(numbers: Numbers, before: Numbers) -> list[str]:
    """What costs more than it may, each in a line."""
    return [
        f"{what}: {number:,} instead of {before[what]:,} ({MOST:g} times that are allowed)"
        for what, number in numbers.items()
        if what in before and number > MOST * before[what]
    ]


def _counted(
    what: str,
    prepared: Callable[[], Any],
    making: Callable[[], Any],
) -> Numbers:
    """The numbers of one thing."""
    with prepared() as counted, making() as call:
        costs = counted.cost(call)
    return {f"{what}: {name.replace('_', '-')}": number for name, number in asdict(costs).items()}


def _added(
    what: str,
    prepared: Callable[[], Any],
    making: Callable[[], Any],
    making_without: Callable[[], Any],
) -> Numbers:
    """By how much the numbers of one thing are above those of the same without the pool."""
    with_it, without = (_counted(what, prepared, made) for made in (making, making_without))
    return {f"{name}, added": with_it[name] - without[name] for name in with_it}


@contextmanager
def _busy_pool() -> Iterator[CountedPool]:
    """A pool whose only worker has something else to do: callers run their tasks themselves."""
    counted, done, begun = CountedPool(1), threading.Event(), threading.Event()

    def something_else() -> None:
        begun.set()
        done.wait()

    counted.pool.submit(something_else)
    begun.wait()  # before anything is counted
    with counted.at_work():
        try:
            yield counted
        finally:
            done.set()


@contextmanager
def _pool_that_comes_late() -> Iterator[CountedPool]:
    """A pool of which callers do not want anything that is short."""
    counted = CountedPool(1, arrival=10.0)
    with counted.at_work():
        yield counted


@contextmanager
def _free_pool() -> Iterator[CountedPool]:
    """A pool with a worker for each task but the caller's own."""
    counted = CountedPool(TASKS - 1)
    with counted.at_work():
        yield counted


@contextmanager
def _fan_out() -> Iterator[Callable[[], object]]:
    tasks = [_nothing] * TASKS
    yield _in_a_request(lambda: run_in_parallel(tasks))


@contextmanager
def _fan_out_that_meets() -> Iterator[Callable[[], object]]:
    barrier = threading.Barrier(TASKS)
    tasks = [barrier.wait] * TASKS
    yield _in_a_request(lambda: run_in_parallel(tasks))


@contextmanager
def _statements() -> Iterator[Callable[[], object]]:
    def ask(session: Session, statements: list[Select[Any]]) -> list[Result[Any]]:
        return run_in_parallel(statements, session=session)

    with _asking(ask) as call:
        yield call


@contextmanager
def _sequential() -> Iterator[Callable[[], object]]:
    def ask(session: Session, statements: list[Select[Any]]) -> list[Result[Any]]:
        return [session.execute(statement) for statement in statements]

    with _asking(ask) as call:
        yield call


@contextmanager
def _asking(
    ask: Callable[[Session, list[Select[Any]]], list[Result[Any]]],
) -> Iterator[Callable[[], object]]:
    """A request that asks a database for the rows of some statements."""
    statements = [select(literal(number)) for number in range(STATEMENTS)]

    with TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/database")

        def request() -> None:
            with Session(engine) as session:
                for result in ask(session, statements):
                    result.scalar_one()

        yield _in_a_request(request)
        engine.dispose()


@contextmanager
def _request() -> Iterator[Callable[[], object]]:
    middleware = CommonPoolMiddleware(application)

    def request() -> None:
        response: Any = middleware({}, lambda *_: None)  # type: ignore[arg-type]  # no server's
        list(response)
        response.close()

    yield request


def _nothing() -> None:
    """Do nothing."""


def _in_a_request(call: Callable[[], object]) -> Callable[[], None]:
    """What calls something as in a request of its own."""

    def request() -> None:
        executor = OwnerExecutor()
        token = current.set(executor)
        try:
            call()
        finally:
            executor.end()
            current.reset(token)

    return request


def _waiting_task() -> int:
    """How many bytes a task of a fan-out takes while it waits, beside its function."""
    with _busy_pool() as counted:
        owner = Owner(counted.pool)

        def submit() -> object:
            fan_out = FanOut(owner, has_caller=True)
            tasks = [Task(_nothing, fan_out) for _ in range(WAITING)]  # as run_in_parallel does
            fan_out.unstarted.extend(tasks)
            counted.pool.admit(fan_out)
            return fan_out, tasks

        return bytes_of(submit) // WAITING
