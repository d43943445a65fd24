"""``commonpool tune``: finds the sizes for ``uwsgi.ini`` by measurement."""

from __future__ import annotations

import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from commonpool.chain.measured import Sizes
from commonpool.cli import COULD_NOT_LOOK
from commonpool.cli.output import PatientConsole, StrictCommand, discard_output, require_output
from commonpool.tune import configuration, edits, grid, report, table
from commonpool.tune.edits import Change
from commonpool.tune.errors import TuneError
from commonpool.tune.progress import Telling
from commonpool.tune.recording import FILE
from commonpool.tune.tuning import Asked, Tuning, require_url, require_writable
from commonpool.tune.verdict import Verdict, judge

_INTERRUPTED = 130
_TERMINATED = 143
_NARROW = 80
_MOST_RPS = 10_000  # the generator is one process


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM."""


@click.command("tune", cls=StrictCommand)
@click.argument("url")
@click.option(
    "--ini",
    required=True,
    type=click.Path(path_type=Path),
    help="uWSGI's configuration; it is not changed without --write.",
)
@click.option("--p99", type=float, help="Seconds in which 99 of 100 requests are to be answered.")
@click.option("--rps", type=float, help="Requests a second to serve; else the most are looked for.")
@click.option(
    "--grid",
    "given_grid",
    metavar="GRID",
    help='What is varied: "processes=1,2 threads=4,8 workers=8,24 connections=8,24".',
)
@click.option(
    "--pool-variable",
    metavar="NAME",
    help="The variable in which the application reads the size of its connection pool.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("tune"),
    show_default=True,
    help="The folder for the report, the plots and the measurements.",
)
@click.option("--write", is_flag=True, help="Change the file, and keep a copy of it.")
@click.option(
    "--seconds", type=float, default=6.0, show_default=True, help="Of one load of a finalist."
)
@click.option(
    "--rounds", type=int, default=4, show_default=True, help="In which finalists are measured."
)
@click.option(
    "--budget", type=float, default=540.0, show_default=True, help="Seconds for all of it."
)
def command(  # noqa: PLR0917 - click calls it by names
    url: str,
    ini: Path,
    p99: float | None,
    rps: float | None,
    given_grid: str | None,
    pool_variable: str | None,
    output: Path,
    *,
    write: bool,
    seconds: float,
    rounds: int,
    budget: float,
) -> None:
    """Find processes, threads, workers and connections by measurement.

    uWSGI is started with the file, on a port of its own, again and again with other sizes, and the
    page of URL is loaded. Found is the smallest setting that serves --rps requests a second with a
    p99 of --p99 seconds at most; without --rps, the one that serves most.

    Ctrl-C keeps what was measured, and writes the report of it.

    Exit status: 0, it has a recommendation or says that nothing meets the goal; 3, it could not be
    done; 130 or 143, interrupted.
    """
    require_output()
    signal.signal(signal.SIGTERM, _terminate)
    console = _console()
    try:
        for name, value in (
            ("--p99", p99),
            ("--rps", rps),
            ("--seconds", seconds),
            ("--rounds", rounds),
            ("--budget", budget),
        ):
            if value is not None and not 0 < value < 1e6:  # noqa: PLR2004 - nan is not, either
                raise TuneError(f"{name} is {value:g}; it must be above 0, and below a million")
        if rps is not None and rps > _MOST_RPS:
            raise TuneError(
                f"--rps is {rps:g}; a load of more than {_MOST_RPS:,} requests/s cannot be made "
                "here: measure a smaller one, and ask commonpool plan"
            )
        require_url(url)
        if not ini.is_file():
            raise TuneError(f"{ini}: there is no such file")
        if pool_variable is not None and not pool_variable.isidentifier():
            raise TuneError(f"--pool-variable: {pool_variable!r} is no name of a variable")
        parsed = None if given_grid is None else grid.parse(given_grid)
        if parsed and "connections" in parsed and pool_variable is None:
            raise TuneError("--grid varies connections: name their variable with --pool-variable")
        require_writable(output)
        asked = Asked(
            url,
            ini,
            output,
            p99=p99,
            rps=rps,
            grid=parsed,
            pool_variable=pool_variable,
            seconds=seconds,
            rounds=rounds,
            budget=budget,
        )
        status = _tune(asked, console, write=write)
    except TuneError as error:
        click.echo(f"commonpool tune: {error}", err=True)
        status = COULD_NOT_LOOK
    except OSError as error:
        discard_output()  # what is left of it would fail again
        click.echo(f"commonpool tune: cannot go on: {error}", err=True)
        status = COULD_NOT_LOOK
    except KeyboardInterrupt as error:
        status = _status_of(error)
    sys.exit(status)


@dataclass(frozen=True)
class _Ended:
    """How the measuring ended."""

    status: int = 0
    why: str = ""
    error: TuneError | None = None


def _tune(asked: Asked, console: Console, *, write: bool) -> int:
    with Telling(console) as telling:
        tuning = Tuning(asked, telling)
        ended = _run(tuning)
    if tuning.search is None or tuning.goal is None:
        if ended.status:
            click.echo("Interrupted before there was a measurement.", err=True)
        return ended.status
    verdict = judge(list(tuning.search.found.values()), tuning.goal, tuning.present)
    change = Change()
    if verdict.recommended is not None:
        change = edits.change(
            asked.ini, verdict.recommended.sizes, asked.environ, asked.pool_variable
        )
    error = ended.error
    try:
        report.write(tuning, verdict, change, ended.why)
    except TuneError as full:  # what was measured is still to be told
        error = error or full
    _show(console, tuning, verdict, change, ended.why)
    if error is not None:
        raise error
    _say_where(console, asked.output)
    if write and ended.status:
        console.print("Nothing was written, since it was interrupted.", highlight=False)
    elif write:
        _write(console, asked, change, verdict)
    return ended.status


def _run(tuning: Tuning) -> _Ended:
    try:
        tuning.run()
    except KeyboardInterrupt as error:
        return _Ended(
            _status_of(error), "It was interrupted: this is what was measured until then."
        )
    except TuneError as error:
        if tuning.measuring is None or not tuning.measuring.runs:
            raise
        return _Ended(
            COULD_NOT_LOOK, "It could not go on: this is what was measured until then.", error
        )
    if tuning.search is not None and tuning.search.cut_short:
        return _Ended(
            why=f"The {tuning.asked.budget:g} s of --budget were over before all was measured "
            "that was to be."
        )
    return _Ended()


def _show(
    console: Console, tuning: Tuning, verdict: Verdict, change: Change, interrupted: str
) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    say("")
    table.show(console, verdict)
    for caution in report.cautions(tuning)[2:]:
        say(caution)
    facts = report.facts(tuning, verdict)
    if "Measured" in facts:
        say(f"Measured: {facts['Measured']}.")
    if interrupted:
        say(interrupted)
    diff = change.diff()
    if diff or change.notes:
        say("")
    for line in diff.splitlines():
        console.print(line, highlight=False, markup=False, soft_wrap=True, style=_style(line))
    for note in change.notes:
        say(note)


def _say_where(console: Console, folder: Path) -> None:
    told = f"{folder}: {report.NAME}, latency.png, latency.svg, {report.DIFF}, {FILE}"
    console.print("", told, sep="\n", highlight=False, markup=False)


def _style(line: str) -> str | None:
    return {"+": "green", "-": "red"}.get(line[:1])


def _write(console: Console, asked: Asked, change: Change, verdict: Verdict) -> None:
    if not change.files or verdict.recommended is None:
        console.print("Nothing is to be written.", highlight=False)
        return
    if not verdict.meets:
        raise TuneError("no setting meets the goal, so nothing was written")
    copies = change.apply()
    wanted = verdict.recommended.sizes
    if (found := _as_uwsgi_reads(asked)) != wanted:
        change.undo()
        raise TuneError(
            f"uWSGI would read {grid.words(found)} from the changed file, so it was put back: "
            "make the change by hand"
        )
    for path, copy in zip(change.files, copies, strict=True):
        console.print(f"Written: {path}; what it was is {copy}.", highlight=False, markup=False)


def _as_uwsgi_reads(asked: Asked) -> Sizes:
    with tempfile.TemporaryDirectory(prefix="commonpool-tune-", dir="/tmp") as folder:
        told = configuration.ask(
            configuration.find_program(), asked.ini, Path(folder), asked.environ
        )
    return told.sizes(asked.environ, asked.pool_variable)


def _console() -> Console:
    console = PatientConsole(highlight=False)
    # A log is read on screens of any width, a terminal has its own.
    return console if console.is_terminal else PatientConsole(width=_NARROW, highlight=False)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _TerminatedError


def _status_of(error: KeyboardInterrupt) -> int:
    return _TERMINATED if isinstance(error, _TerminatedError) else _INTERRUPTED
