"""``python -m stack.ways``: times each known way of waiting for several things in a view."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Protocol, cast

import click
from rich.console import Console
from rich.table import Table

from stack.ways import NAMES, Timing
from stack.ways.waiting import over

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT


class Way(Protocol):
    """What a module of this package has."""

    TITLE: str
    COLUMNS: tuple[str, ...]

    def measure(self, scale: float) -> list[Timing]:
        """Time all ways of its kind."""


def title_of(way: Way, scale: float) -> str:
    """What is waited for."""
    return way.TITLE if scale == 1 else f"{way.TITLE}, times {scale:g}"


def table_of(way: Way, scale: float, timings: Sequence[Timing]) -> Table:
    """What was measured, a line for each way."""
    table = Table(title=title_of(way, scale), title_justify="left", box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    counts = {
        heading: values
        for heading, values in {
            "at once": [timing.at_once for timing in timings],
            "connections": [timing.connections for timing in timings],
        }.items()
        if any(value is not None for value in values)
    }
    for heading in (*way.COLUMNS, *counts):
        table.add_column(heading, justify="right")
    table.add_column("")
    for number, timing in enumerate(timings):
        seconds = [f"{value:.2f}" for value in timing.seconds] or ["-"] * len(way.COLUMNS)
        cells = [values[number] for values in counts.values()]
        table.add_row(
            timing.way,
            *seconds,
            *("-" if cell is None else f"{cell:,}" for cell in cells),
            timing.note,
        )
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[NAME]...", type=click.Choice(NAMES), nargs=-1)
@click.option(
    "--scale",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    help="What all waiting times, and the number of requests, are multiplied by.",
)
def ways(names: tuple[str, ...], scale: float) -> None:
    """Time the known ways of waiting for several things in a view, commonpool's beside them.

    NAME is one of queries, two_clients, sleeps, hundred, apis, computing; all of them by default.
    """
    console = Console(highlight=False)
    for name in NAMES:
        if name in (names or NAMES):
            way = cast("Way", import_module(f"stack.ways.{name}"))
            with console.status(title_of(way, scale)):
                timings = way.measure(scale)
            console.print(table_of(way, scale, timings))
            console.print()


def main() -> int:
    """Run the command, and return the exit status."""
    try:
        ways.main(prog_name="python -m stack.ways", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    over.set()  # nobody is to be waited for any longer
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(main())
