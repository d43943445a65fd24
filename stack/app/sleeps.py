"""The classic measurements: tasks that do nothing but wait, in Python or in the database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from flask import Blueprint, abort
from sqlalchemy import func, select

from stack.app.parameters import count_parameter, mode_parameter, seconds_parameter
from stack.app.runs import Mode, Run, run_functions, run_statements

T = TypeVar("T")

sleeps = Blueprint("sleeps", __name__, url_prefix="/sleep")

MOST_SECONDS = 10
MOST_QUERIES = 50
MOST_SEQUENTIAL_SECONDS = 25
"""In all, one after another: below the 30 s of ``harakiri``, which would end the process."""


@sleeps.get("/python")
def sleep_in_python() -> dict[str, Any]:
    """Sleep ``seconds`` (0 to 10) in Python, ``queries`` (1 to 50) times, in the ``mode`` given."""
    wanted = _parameters()
    return wanted.answer(
        run_functions(wanted.times(partial(time.sleep, wanted.seconds)), wanted.mode)
    )


@sleeps.get("/sql")
def sleep_in_sql() -> dict[str, Any]:
    """Sleep ``seconds`` (0 to 10) in the database, ``queries`` (1 to 50) times, in ``mode``."""
    wanted = _parameters()
    return wanted.answer(
        run_statements(wanted.times(select(func.sleep(wanted.seconds))), wanted.mode)
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request asks for."""

    mode: Mode
    seconds: float
    queries: int

    def times(self, task: T) -> dict[str, T]:
        """So many of a task, by their names."""
        return {f"sleep {number}": task for number in range(1, self.queries + 1)}

    def answer(self, done: Run[object]) -> dict[str, Any]:
        """What the request is answered."""
        return {
            "mode": self.mode.value,
            "seconds": self.seconds,
            "queries": self.queries,
            "elapsed_ms": round(done.elapsed_ms, 3),
            "tasks": [task.as_json() for task in done.tasks],
        }


def _parameters() -> _Wanted:
    mode = mode_parameter()
    seconds = seconds_parameter("seconds", default=1.0, most=MOST_SECONDS)
    queries = count_parameter("queries", default=1, most=MOST_QUERIES)
    if mode is Mode.SEQUENTIAL and seconds * queries > MOST_SEQUENTIAL_SECONDS:
        abort(
            400,
            f"seconds times queries is {seconds * queries:g}; one after another "
            f"it must be at most {MOST_SEQUENTIAL_SECONDS}",
        )
    return _Wanted(mode, seconds, queries)
