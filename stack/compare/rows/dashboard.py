"""Row 11: what is gained where queries keep the database busy."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sqlalchemy import Engine, Executable, create_engine
from sqlalchemy.orm import Session

from stack.bench import dashboard
from stack.bench.samples import by_turns
from stack.compare.peers import COMMONPOOL, SEQUENTIAL, SHARED
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, ratio
from stack.compare.rows.row import Add, LocalRow

KEY = "11"
MEASURE, PROCESSORS = "seconds", "processors"

_TURNS = 3


def measure(seconds: float, url: str, add: Add) -> None:
    """The statements of `stack.bench`, one after another and side by side.

    Raises:
        RuntimeError: the rows are not the same in all ways.
    """
    del seconds
    add(PROCESSORS, COMMONPOOL, [len(os.sched_getaffinity(0))])
    engine = create_engine(url, pool_size=dashboard.STATEMENTS)
    try:
        with ThreadPoolExecutor(dashboard.STATEMENTS) as executor:
            ways = {
                SEQUENTIAL: partial(dashboard.sequential, engine),
                SHARED: partial(shared, executor, engine),
                COMMONPOOL: partial(dashboard.parallel, engine),
            }
            rows = [way() for way in ways.values()]
            if any(other != rows[0] for other in rows[1:]):
                raise RuntimeError("the statements gave other rows in parallel")
            for peer, samples in by_turns(ways, range(_TURNS)).items():
                add(MEASURE, peer, samples.seconds)
    finally:
        engine.dispose()


def shared(executor: ThreadPoolExecutor, engine: Engine) -> list[object]:
    """Side by side, each in a session of its own."""

    def rows(statement: Executable) -> object:
        with Session(engine) as session:
            return session.execute(statement).all()

    return list(executor.map(rows, dashboard.statements()))


def results(recording: Recording) -> list[Result]:
    """The time of each way by that of one after another."""

    def value(peer: str) -> dict[int, float]:
        return ratio(
            recording.medians(KEY, MEASURE, peer), recording.medians(KEY, MEASURE, SEQUENTIAL)
        )

    processors = recording.medians(KEY, PROCESSORS, COMMONPOOL)
    return [
        Result(
            row=KEY,
            what=f"{dashboard.STATEMENTS} queries of the dashboard (336,776 flights): elapsed, "
            "divided by sequential",
            # Each keeps a core of the database's busy until its last row.
            limit=1 / max(processors.values()) if processors else None,
            target=0.55,
            figures=figures(recording, KEY, MEASURE, value),
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            shortfall="MariaDB and Python share the two cores, with what else is done there: 0.535 "
            "and 0.579 in two runs, in which the best peer had 0.542 and 0.587.",
        )
    ]


ROW = LocalRow(
    key=KEY, title="queries of the dashboard", results=results, measure=measure, flights=True
)
