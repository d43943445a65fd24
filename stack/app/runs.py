"""Tasks run side by side or one after another, with a clock on each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from commonpool import run_in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def run(tasks: Mapping[str, Callable[[], T]], mode: Mode) -> Run[T]:
    """Run ``tasks`` in the given mode and return their results and times, in their order.

    In parallel, each task has an app context of its own, and so a ``db.session`` of its own.
    Sequentially they all run as any view's code does, in the request's context and session.

    Raises:
        Exception: whatever the first task that fails raises.
    """
    clock = _Clock()
    timed = {name: clock.timed(name, task) for name, task in tasks.items()}
    if mode is Mode.PARALLEL:
        results = dict(run_in_parallel(timed))
    else:
        results = {name: task() for name, task in timed.items()}
    elapsed_ms = clock.now_ms()
    return Run(mode, elapsed_ms, [clock.times[name] for name in tasks], results)


class _Clock:
    """Counts from the start of a run, and notes when each task ran."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._caller = threading.get_ident()
        self.times: dict[str, TimedTask] = {}

    def now_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000

    def timed(self, name: str, task: Callable[[], T]) -> Callable[[], T]:
        def call() -> T:
            start_ms = self.now_ms()
            result = task()
            thread = threading.current_thread()
            by_caller = thread.ident == self._caller
            # Each task writes a key of its own, so the threads need no lock.
            self.times[name] = TimedTask(name, start_ms, self.now_ms(), thread.name, by_caller)
            return result

        return call
