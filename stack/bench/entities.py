"""What it costs to load objects side by side: processor time, beside other ways to do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

from sqlalchemy import Engine, Select, create_engine, select
from sqlalchemy.orm import Session, load_only
from sqlalchemy.orm.loading import merge_frozen_result

import commonpool.ext.sqlalchemy  # noqa: F401 - statements are tasks from now on
from commonpool import run_in_parallel
from stack.bench.samples import Samples, by_turns
from stack.data.models import Flight

ENTITIES = 10_000
STATEMENTS = 3
WORKERS = 8

SEQUENTIAL = "one after another, in the session"
OURS = "commonpool"
MERGED = "other sessions in threads, results frozen and merged"
MOVED = "other sessions in threads, objects moved to the session"


def statements() -> list[Select[Any]]:
    """Three statements that load 10,000 flights together, five columns of each."""
    columns = load_only(Flight.month, Flight.day, Flight.carrier, Flight.dest)
    limits = [ENTITIES * number // STATEMENTS for number in range(STATEMENTS + 1)]
    return [
        select(Flight).options(columns).where(Flight.id > low, Flight.id <= high)
        for low, high in pairwise(limits)
    ]


def measure(url: str, rounds: Iterable[object]) -> tuple[dict[str, Samples], dict[str, Samples]]:
    """How much processor time, and how long, each way takes to load the objects, in seconds.

    Args:
        url: of a database with the flights.
        rounds: one item a round.

    Raises:
        RuntimeError: a way has loaded something else.
    """
    engine = create_engine(url, pool_size=WORKERS)
    with ThreadPoolExecutor(WORKERS) as executor:
        ways: dict[str, Callable[[Session], list[Flight]]] = {
            SEQUENTIAL: sequential,
            OURS: parallel,
            MERGED: partial(merged, executor),
            MOVED: partial(moved, executor),
        }
        try:
            return by_turns_twice(
                {name: partial(load, way, engine) for name, way in ways.items()}, rounds
            )
        finally:
            engine.dispose()


def by_turns_twice(
    peers: dict[str, Callable[[], None]], rounds: Iterable[object]
) -> tuple[dict[str, Samples], dict[str, Samples]]:
    """Processor time and elapsed time of the same calls."""
    processor = {name: Samples() for name in peers}

    def timed(name: str, call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            began = time.process_time()
            call()
            processor[name].seconds.append(time.process_time() - began)

        return run

    elapsed = by_turns({name: timed(name, call) for name, call in peers.items()}, rounds)
    for samples in processor.values():
        del samples.seconds[0]  # the call that warms up
    return processor, elapsed


def load(way: Callable[[Session], list[Flight]], engine: Engine) -> None:
    """Load the objects into a new session, in one of the ways."""
    with Session(engine) as session:
        flights = way(session)
        if len(flights) != ENTITIES or any(flight not in session for flight in flights[::1000]):
            raise RuntimeError(f"{way} has loaded {len(flights)} flights")


def sequential(session: Session) -> list[Flight]:
    """As any view does it."""
    return [flight for statement in statements() for flight in session.scalars(statement)]


def parallel(session: Session) -> list[Flight]:
    """Rows from workers, objects from the session."""
    results = run_in_parallel(statements(), session=session)
    return [flight for result in results for flight in result.scalars()]


def merged(executor: ThreadPoolExecutor, session: Session) -> list[Flight]:
    """Each statement in a session of its own; its frozen result is merged into this one."""

    def frozen(statement: Select[Any]) -> object:
        with Session(session.get_bind()) as other:
            return other.execute(statement).freeze()

    asked = statements()
    results = list(executor.map(frozen, asked))
    return [
        flight
        for statement, result in zip(asked, results, strict=True)
        for flight in merge_frozen_result(  # type: ignore[no-untyped-call]
            session, statement, result, load=False
        )().scalars()
    ]


def moved(executor: ThreadPoolExecutor, session: Session) -> list[Flight]:
    """Each statement in a session of its own; its objects are taken out, and added to this one."""

    def taken_out(statement: Select[Any]) -> list[Flight]:
        with Session(session.get_bind()) as other:
            flights = list(other.scalars(statement))
            other.expunge_all()
            return flights

    flights = [flight for part in executor.map(taken_out, statements()) for flight in part]
    session.add_all(flights)
    return flights
