"""The report: tables for the terminal, and the page with the plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from stack.compare.budget import CONNECTIONS, PROCESSES
from stack.compare.peers import COMMONPOOL, title
from stack.compare.recording import Recording
from stack.compare.results import Figure, Result
from stack.compare.rows import ROWS

TOO_BUSY = 0.5
"""Processes that want a processor, for each that there is, before a round begins. Above that,
somebody else is at work, and figures mean little."""

HEADINGS = ("", "measurement", "limit", "best peer before", "best peer now", "commonpool", "goal")


def all_results(recording: Recording) -> list[Result]:
    """All lines of the table, in the order of the rows."""
    return [
        result
        for key, row in ROWS.items()
        if key in recording.rows
        for result in row.results(recording)
    ]


def warnings(recording: Recording) -> list[str]:
    """What is to be known before a figure is believed."""
    said = []
    # The first round alone: in the others this program itself has kept the machine busy.
    if recording.busy and recording.busy[0] > TOO_BUSY:
        wanted = f"{recording.busy[0]:.1f} processes wanted each processor"
        said.append(f"The machine was not at rest when the run began: {wanted}.")
    if recording.options.get("rounds", 0) < 3:  # noqa: PLR2004 - a spread needs so many
        said.append("Fewer than three rounds: the spread says little.")
    return said


def shown(result: Result, figure: Figure | None, *, unit: bool = True) -> str:
    """A figure and its spread."""
    if figure is None:
        return "-"
    low, high = result.shown(figure.low, unit=False), result.shown(figure.high, unit=False)
    return f"{result.shown(figure.median, unit=unit)} ({low} to {high})"


def best_now(result: Result) -> str:
    """The best peer and its figure."""
    if result.best is None:
        return "-"
    return f"{shown(result, result.figures[result.best])}, {title(result.best)}"


def goal(result: Result) -> str:
    """The target, and whether it is reached."""
    if result.target is None:
        return ""
    word = {True: "reached", False: "not reached", None: "not measured"}[result.reached]
    return f"{result.shown(result.target)}: {word}"


def line(result: Result) -> tuple[str, ...]:
    """A line of the first table, under `HEADINGS`."""
    return (
        result.row,
        result.what,
        result.shown(result.limit),
        result.before,
        best_now(result),
        shown(result, result.value),
        goal(result),
    )


def peer_lines(result: Result) -> list[tuple[str, str, str, str, str]]:
    """Each peer of a line: name, figure, against the best peer, against the limit, notes."""
    best = result.figures[result.best] if result.best else None
    lines = [
        (
            title(peer),
            shown(result, figure, unit=False),
            _by(figure, best.median if best else None),
            _by(figure, result.limit),
            _remarks(result, peer),
        )
        for peer, figure in sorted(
            result.figures.items(), key=lambda item: item[1].median, reverse=result.more
        )
    ]
    lines += [
        (title(peer) if peer else "all", "-", "", "", reason)
        for peer, reason in result.failures.items()
        if peer not in result.figures
    ]
    return lines


def _remarks(result: Result, peer: str) -> str:
    """What is to be known of a peer's figure: what was wrong in some rounds."""
    failure = result.failures.get(peer)
    remarks = [result.notes.get(peer), failure and f"a round failed: {failure}"]
    return "; ".join(remark for remark in remarks if remark)


def _by(figure: Figure, reference: float | None) -> str:
    return f"{figure.median / reference:.3f}" if reference else ""


def show(recording: Recording, console: Console) -> None:
    """Print the tables."""
    results = all_results(recording)
    for result in results:
        console.print()
        console.print(_peers_table(result))
    aims = [result for result in results if result.target is not None]
    if aims:
        console.print()
        console.print(_aims_table(aims))
    for result in results:
        if result.reason:
            console.print(f"  {result.row}: {result.reason}", highlight=False)
    console.print()
    for text in (*facts(recording), *warnings(recording)):
        console.print(text, highlight=False)


def _peers_table(result: Result) -> Table:
    table = Table(title=f"{result.row}  {result.what}", title_justify="left", title_style="bold")
    for heading in peer_headings(result):
        table.add_column(heading, justify="right" if heading else "left")
    for peer, *cells in peer_lines(result):
        table.add_row(peer, *cells, style="bold" if peer.startswith(COMMONPOOL) else None)
    return table


def _aims_table(results: Iterable[Result]) -> Table:
    table = Table(title="All", title_justify="left", title_style="bold")
    for heading in HEADINGS:
        table.add_column(heading)
    for result in results:
        style = {True: "green", False: "red", None: "yellow"}[result.reached]
        *cells, last = line(result)
        table.add_row(*cells, f"[{style}]{last}[/]")
    return table


def peer_headings(result: Result) -> tuple[str, str, str, str, str]:
    """What stands above `peer_lines`."""
    name = f"median, {result.unit}" if result.unit else "median"
    return "", f"{name} (10 % to 90 %)", "/ best peer", "/ limit", ""


def facts(recording: Recording) -> list[str]:
    """What it was measured on, and with."""
    options = recording.options
    used = f"{PROCESSES} worker processes and {CONNECTIONS} database connections for each server"
    return [
        ", ".join(recording.machine.values()) + ".",
        ", ".join(f"{name} {number}" for name, number in recording.versions.items()) + ".",
        f"{options.get('rounds')} rounds, {options.get('seconds')} s for each load; {used}.",
    ]


def markdown(recording: Recording, plots: Sequence[tuple[str, str]], data: str) -> str:
    """The page.

    Args:
        recording: the run.
        plots: what each shows, and the name of its files, without an ending.
        data: the name of the file with the samples.
    """
    results = all_results(recording)
    aims = [result for result in results if result.target is not None]
    reasons = [f"- {one.row}. {one.what}: {one.reason}" for one in results if one.reason]
    parts = ["# The comparison", _INTRODUCTION]
    parts += [f"> **{warning}**" for warning in warnings(recording)]
    if aims:
        parts.append(_table(HEADINGS, map(line, aims)))
    if reasons:
        parts += ["## What falls short", "\n".join(reasons)]
    parts += ["## On what", "\n".join(f"- {fact}" for fact in facts(recording))]
    if plots:
        parts += ["## Plots", *(f"![{what}]({name}.svg)" for what, name in plots)]
    parts.append("## All peers")
    for result in results:
        parts.append(f"### {result.row}: {result.what}")
        parts.append(_table(peer_headings(result), peer_lines(result)))
    parts += ["## How", _HOW.format(data=data)]
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """\
Written by `make compare`: every peer on the same machine, database and load, in one run, in turn.
Figures are medians of the rounds; in parentheses, where the middle four fifths of the rounds lie.
Whatever falls short stays here, with its figure and the reason."""

_HOW = """\
- One server at a time, nginx in front of each: the clients speak to all of them in the same way.
- The same number of worker processes, the same connections to the database, the same queries.
  Request threads are sized so that no client waits for one; where there is no pool of connections,
  so that the queries keep to the same number of them.
- What is answered in the first seconds of a load does not count. Latencies at given rates count
  from when a request should have been sent, so that what waits for a late answer is late itself.
- The samples are in [{data}]({data}); `python -m stack.compare --from {data}` makes this page and
  its plots of them again."""


def _table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    rows = [list(headings)]
    rows += [["---"] * len(rows[0])]
    rows += [[cell.replace("|", "\\|") for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
