"""What is said while it goes on: a bar on a terminal, else one plain line for each measurement."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from commonpool.chain.figures import milliseconds, per_second
from commonpool.chain.measured import Run
from commonpool.tune.goal import Goal, p99
from commonpool.tune.grid import words


class Telling:
    """Says what is measured; to be used with ``with``.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self.goal: Goal | None = None
        self._progress = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )
        self._task = None if self._progress is None else self._progress.add_task("", visible=False)
        self._last: Run | None = None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(escape(text), highlight=False, soft_wrap=self._progress is None)

    def step(self, what: str, count: int) -> None:
        """What is done next, and how many settings are measured in it."""
        self.say(what)
        if self._progress is not None and self._task is not None:
            short = what.partition(":")[0]
            self._progress.reset(self._task, description=short, total=count, visible=True)
        self._last = None

    def run(self, run: Run) -> None:
        """A measurement."""
        if self._progress is not None and self._task is not None:
            if self._last is None or self._last.sizes != run.sizes:
                self._progress.advance(self._task)
            self._last = run
        self.say(f"{self._clock()} {line(run, self.goal)}")

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{minutes:2d}:{seconds:02d}"


def line(run: Run, goal: Goal | None) -> str:
    """A measurement in one line of at most 74 characters."""
    sign = "" if goal is None else ("ok   " if goal.is_met(run) else "over ")
    failures = sum(run.failures.values())
    failed = f" {failures} failed" if failures else ""
    return f"{sign}{words(run.sizes)}: {per_second(run.rps)}/s p99 {milliseconds(p99(run))}{failed}"
