"""Statements and functions run side by side or one after another, with a clock on each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from commonpool import run_in_parallel
from stack.app.database import db
from stack.app.stopwatches import Stopwatch, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Executable, RowMapping

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Mode(StrEnum):
    """How the tasks of a page are run."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True, slots=True)
class TimedTask:
    """When a task ran, in milliseconds since the run began, and on which thread."""

    name: str
    start_ms: float
    end_ms: float
    thread: str
    by_caller: bool

    @property
    def duration_ms(self) -> float:
        """How long the task ran."""
        return self.end_ms - self.start_ms

    def as_json(self) -> dict[str, str | float]:
        """Return what the JSON of a run tells about the task."""
        return {
            "name": self.name,
            "start_ms": round(self.start_ms, 3),
            "end_ms": round(self.end_ms, 3),
            "thread": self.thread,
        }


@dataclass(frozen=True, slots=True)
class Run(Generic[T_co]):
    """What the tasks returned, by name, and when each of them ran."""

    mode: Mode
    elapsed_ms: float
    tasks: list[TimedTask]
    results: Mapping[str, T_co]

    @property
    def sum_ms(self) -> float:
        """What the tasks took, added up."""
        return sum(task.duration_ms for task in self.tasks)

    @property
    def ratio(self) -> float:
        """How many times as long the tasks took, added up, as the run did."""
        return self.sum_ms / self.elapsed_ms if self.elapsed_ms else 1.0


def run_statements(statements: Mapping[str, Executable], mode: Mode) -> Run[Sequence[RowMapping]]:
    """Run ``statements`` in the given mode; return their rows and times, in their order.

    In both modes they are the statements of the request's own ``db.session``. In parallel, workers
    send them on connections of their own, wait and fetch the rows. A statement's time is that from
    when it is sent until its rows are there.

    Raises:
        Exception: whatever the first statement that fails raises.
    """
    stopwatches = {name: Stopwatch() for name in statements}
    with Stopwatch() as whole:
        if mode is Mode.PARALLEL:
            results = run_in_parallel(
                {name: timed(statements[name], stopwatches[name]) for name in statements}
            )
            rows = {name: result.mappings().all() for name, result in results.items()}
        else:
            rows = {}
            for name, stopwatch in stopwatches.items():
                rows[name] = db.session.execute(timed(statements[name], stopwatch)).mappings().all()
                stopwatch.stop()  # a session by itself fetches after the database has answered
    return _run(mode, whole, stopwatches, rows)


def run_functions(functions: Mapping[str, Callable[[], T]], mode: Mode) -> Run[T]:
    """Run ``functions`` in the given mode; return their results and times, in their order.

    Raises:
        Exception: whatever the first function that fails raises.
    """
    stopwatches = {name: Stopwatch() for name in functions}
    calls = {name: partial(_call, functions[name], stopwatches[name]) for name in functions}
    with Stopwatch() as whole:
        if mode is Mode.PARALLEL:
            results = dict(run_in_parallel(calls))
        else:
            results = {name: call() for name, call in calls.items()}
    return _run(mode, whole, stopwatches, results)


def _call(function: Callable[[], T], stopwatch: Stopwatch) -> T:
    with stopwatch:
        return function()


def _run(
    mode: Mode, whole: Stopwatch, stopwatches: Mapping[str, Stopwatch], results: Mapping[str, T]
) -> Run[T]:
    def since_start_ms(moment: float) -> float:
        return (moment - whole.start) * 1000

    tasks = [
        TimedTask(
            name=name,
            start_ms=since_start_ms(stopwatch.start),
            end_ms=since_start_ms(stopwatch.end),
            thread="" if stopwatch.thread is None else stopwatch.thread.name,
            by_caller=stopwatch.thread is whole.thread,
        )
        for name, stopwatch in stopwatches.items()
    ]
    return Run(mode, since_start_ms(whole.end), tasks, results)
