"""The classic measurements: tasks that do nothing but wait, in Python or in the database."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort
from sqlalchemy import func, select

from stack.app.database import db
from stack.app.parameters import count_parameter, mode_parameter, seconds_parameter
from stack.app.runs import Mode, run

if TYPE_CHECKING:
    from collections.abc import Callable

sleeps = Blueprint("sleeps", __name__, url_prefix="/sleep")

MOST_SECONDS = 10
MOST_QUERIES = 50
MOST_SEQUENTIAL_SECONDS = 25
"""In all, one after another: below the 30 s of ``harakiri``, which would end the process."""


@sleeps.get("/python")
def sleep_in_python() -> dict[str, Any]:
    """Sleep ``seconds`` (0 to 10) in Python, ``queries`` (1 to 50) times, in the ``mode`` given."""
    return _measure(time.sleep)


@sleeps.get("/sql")
def sleep_in_sql() -> dict[str, Any]:
    """Sleep ``seconds`` (0 to 10) in the database, ``queries`` (1 to 50) times, in ``mode``."""
    return _measure(_sleep_in_sql)


def _sleep_in_sql(seconds: float) -> None:
    db.session.execute(select(func.sleep(seconds))).all()


def _measure(sleep: Callable[[float], None]) -> dict[str, Any]:
    mode = mode_parameter()
    seconds = seconds_parameter("seconds", default=1.0, most=MOST_SECONDS)
    queries = count_parameter("queries", default=1, most=MOST_QUERIES)
    if mode is Mode.SEQUENTIAL and seconds * queries > MOST_SEQUENTIAL_SECONDS:
        abort(
            400,
            f"seconds times queries is {seconds * queries:g}; one after another "
            f"it must be at most {MOST_SEQUENTIAL_SECONDS}",
        )
    tasks = {f"sleep {number}": partial(sleep, seconds) for number in range(1, queries + 1)}
    done = run(tasks, mode)
    return {
        "mode": mode.value,
        "seconds": seconds,
        "queries": queries,
        "elapsed_ms": round(done.elapsed_ms, 3),
        "tasks": [task.as_json() for task in done.tasks],
    }
