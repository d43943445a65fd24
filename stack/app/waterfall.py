"""When each query ran, and on which thread, as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.app.charts import Tick
from stack.app.scales import nice_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stack.app.charts import Chart
    from stack.app.runs import Run

_SHORTEST_PERCENT = 0.6  # a query of no time at all is still seen
_LAST_TICK_PERCENT = 94  # a number further right would leave the chart


@dataclass(frozen=True, slots=True)
class Lane:
    """One query: sign and title of its chart, and where its bar begins and how long it is."""

    sign: str
    title: str
    start: float
    length: float
    times: str
    duration: str
    thread: str
    by_caller: bool


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A run of the queries: a lane for each, the axis, and the figures above them."""

    mode: str
    lanes: Sequence[Lane]
    ticks: Sequence[Tick]
    elapsed: str
    added_up: str
    ratio: str
    threads: int


def waterfall(run: Run[object], charts: Sequence[Chart]) -> Waterfall:
    """Return the waterfall of ``run``, whose tasks are named like ``charts``."""
    named = {chart.name: chart for chart in charts}
    percent = 100 / run.elapsed_ms
    lanes = [
        Lane(
            sign=named[task.name].sign,
            title=named[task.name].title,
            start=round(task.start_ms * percent, 2),
            length=round(max(task.duration_ms * percent, _SHORTEST_PERCENT), 2),
            times=f"from {task.start_ms:.0f} to {task.end_ms:.0f} ms",
            duration=duration(task.duration_ms),
            thread=task.thread,
            by_caller=task.by_caller,
        )
        for task in run.tasks
    ]
    ticks = [
        Tick(duration(at), round(at * percent, 2)) for at in nice_ticks(run.elapsed_ms, about=4)
    ]
    return Waterfall(
        mode=run.mode.value,
        lanes=lanes,
        ticks=[tick for tick in ticks if tick.at <= _LAST_TICK_PERCENT],
        elapsed=duration(run.elapsed_ms),
        added_up=duration(run.sum_ms),
        ratio=f"{run.ratio:.1f}",
        threads=len({task.thread for task in run.tasks}),
    )


def duration(ms: float) -> str:
    """Return a time in words: milliseconds below a second, seconds above."""
    if ms >= 1000:  # noqa: PLR2004 (a second)
        return f"{ms / 1000:.2f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"  # noqa: PLR2004 (two digits)
