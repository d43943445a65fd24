"""What parallel queries gain: six of the dashboard's, on MariaDB, as they are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from sqlalchemy import Engine, Executable, create_engine
from sqlalchemy.orm import Session

import commonpool.ext.sqlalchemy  # noqa: F401 - statements are tasks from now on
from commonpool import run_in_parallel
from stack.app.queries import DASHBOARD
from stack.bench.samples import Samples, by_turns

STATEMENTS = 6

SEQUENTIAL = "one after another"
OURS = "commonpool"


def measure(url: str, rounds: Iterable[object]) -> dict[str, Samples]:
    """How long six statements of the dashboard take, in seconds.

    Args:
        url: of a database with the flights.
        rounds: one item a round.

    Raises:
        RuntimeError: the rows are not the same in both ways.
    """
    engine = create_engine(url, pool_size=STATEMENTS)
    try:
        if sequential(engine) != parallel(engine):
            raise RuntimeError("the statements gave other rows in parallel")
        return by_turns(
            {SEQUENTIAL: partial(sequential, engine), OURS: partial(parallel, engine)}, rounds
        )
    finally:
        engine.dispose()


def statements() -> list[Executable]:
    """Six of the dashboard's."""
    return [query.statement for query in list(DASHBOARD.values())[:STATEMENTS]]


def sequential(engine: Engine) -> list[object]:
    """As any view does it."""
    with Session(engine) as session:
        return [session.execute(statement).all() for statement in statements()]


def parallel(engine: Engine) -> list[object]:
    """Side by side."""
    with Session(engine) as session:
        return [result.all() for result in run_in_parallel(statements(), session=session)]
