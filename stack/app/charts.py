"""What a chart is made of: words, places and sizes.

Places and widths along x are percents of the chart's width, so that a chart stretches with the
page while its text keeps its size; heights are CSS pixels. Drawing is left to ``charts.html``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from stack.app.scales import nice_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLOT_HEIGHT = 150
"""The height of a column that reaches the top of its chart, in CSS pixels."""

_ROOM_FOR_VALUE = 0.82  # the longest bar leaves this much of the plot to the words after it


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar or column: its label, what it says, its length and whether it stands out."""

    label: str
    text: str
    length: float
    stands_out: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid: what it says, and how far it is from the start of the axis."""

    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Day:
    """One field of the calendar: the day of the month, its level from 0 to 6, and its words."""

    number: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """The figures behind a chart, for those who would rather read them, or hear them read."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """All that one card of the dashboard shows.

    ``sign`` is the letter that the card shares with its row of the waterfall; ``finding`` is a
    sentence that says what can be seen.
    """

    name: str
    sign: str
    kind: str
    title: str
    unit: str
    finding: str
    table: Table
    bars: Sequence[Bar] = ()
    ticks: Sequence[Tick] = ()
    label_percent: float = 0
    row_height: int = 26
    axis: str = ""
    months: Mapping[str, Sequence[Day]] = field(default_factory=dict)
    worst: Sequence[tuple[str, str]] = ()


def with_bars(chart: Chart, values: Sequence[tuple[str, float, str]]) -> Chart:
    """Return ``chart`` with a horizontal bar for each (label, value, text): lengths in percent.

    The largest stands out.
    """
    largest = _largest(values)
    room = (100 - chart.label_percent) * _ROOM_FOR_VALUE
    return replace(chart, bars=_scaled(values, largest, room / largest))


def with_columns(chart: Chart, values: Sequence[tuple[str, float, str]]) -> Chart:
    """Return ``chart`` with a column for each (label, value, text), and a grid: heights in pixels.

    The largest stands out.
    """
    largest = _largest(values)
    ticks = nice_ticks(largest, about=4)
    scale = PLOT_HEIGHT / max(largest, ticks[-1])
    grid = [Tick(f"{tick:g}", tick * scale) for tick in ticks]
    return replace(chart, bars=_scaled(values, largest, scale), ticks=grid)


def _largest(values: Sequence[tuple[str, float, str]]) -> float:
    """Return the largest value, or 1 where none is above zero: something to divide by."""
    largest = max((value for _, value, _ in values), default=0)
    return largest if largest > 0 else 1


def _scaled(values: Sequence[tuple[str, float, str]], largest: float, scale: float) -> list[Bar]:
    # A negative mean (early on average) has no bar: its text and the table tell it.
    return [
        Bar(label, text, round(max(0, value) * scale, 2), stands_out=value == largest)
        for label, value, text in values
    ]
