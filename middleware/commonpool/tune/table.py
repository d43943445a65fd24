"""The measurements as a table, and the verdict below it: 80 columns, without colour too."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commonpool.chain.figures import milliseconds, per_second
from commonpool.chain.measured import Sizes
from commonpool.tune.verdict import Row, Verdict

_WIDTH = 80
_MOST = 12  # rows; the report has all of them


def show(console: Console, verdict: Verdict) -> None:
    """Print the table and the sentences."""
    if verdict.rows:
        # Whole on a narrower terminal too, which breaks its lines: without figures it is nothing.
        width = console.width
        console.width = max(width, _WIDTH)
        console.print(_table(verdict))
        console.width = width
        if len(verdict.rows) > _MOST:
            console.print(f"{len(verdict.rows) - _MOST} more are in the report.", highlight=False)
    for sentence in verdict.sentences:
        console.print(escape(sentence), highlight=False)


def columns(verdict: Verdict) -> list[str]:
    """The headings."""
    connections = ["pool"] if any(row.sizes.connections is not None for row in verdict.rows) else []
    figures = ["rate/s", "p99"] if verdict.goal.rps is None else ["p50", "p99"]
    return [
        *("", "proc", "thr", "work", *connections, *figures, "95 %"),
        *("fail", "MiB", "conn"),
    ]


def cells(row: Row, verdict: Verdict) -> list[str]:
    """One row."""
    sizes = row.sizes
    connections = (
        [str(sizes.connections)]
        if any(other.sizes.connections is not None for other in verdict.rows)
        else []
    )
    low, high = row.interval
    if verdict.goal.rps is None:
        figures = [f"{per_second(row.figure)}", milliseconds(row.p99)]
        interval = f"{per_second(low)}-{per_second(high)}"
    else:
        figures = [milliseconds(row.p50), milliseconds(row.p99)]
        interval = f"{per_second(1000 * low)}-{per_second(1000 * high)}"
    failures = sum(row.failures.values())
    return [
        mark(sizes, verdict),
        *(str(sizes.processes), str(sizes.threads), str(sizes.max_workers)),
        *connections,
        *figures,
        interval if row.final and math.isfinite(high) else "",
        str(failures) if failures else "",
        f"{row.memory / 2**20:.0f}",
        str(row.connections) if row.connections else "-",
    ]


def mark(sizes: Sizes, verdict: Verdict) -> str:
    """``*``: recommended, ``=``: cannot be told apart from it, ``now``: what is set."""
    recommended = verdict.recommended is not None and verdict.recommended.sizes == sizes
    present = verdict.present is not None and verdict.present.sizes == sizes
    sign = "*" if recommended else "=" if sizes in verdict.alike else ""
    return f"{sign}{'now' if present else ''}"


def _table(verdict: Verdict) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, name in enumerate(columns(verdict)):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    for row in verdict.rows[:_MOST]:
        recommended = verdict.recommended is not None and row.sizes == verdict.recommended.sizes
        table.add_row(*cells(row, verdict), style="bold" if recommended else None)
    return table
