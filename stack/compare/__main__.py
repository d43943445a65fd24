"""``python -m stack.compare``: what `make compare` runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from stack.compare import report
from stack.compare.peers import PEERS, SEQUENTIAL
from stack.compare.recording import Recording, RecordingError
from stack.compare.rows import ROWS
from stack.compare.run import run
from stack.native.errors import NativeError
from stack.native.lock import sole_user

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".stack" / "compare"
PAGES = ROOT / "docs" / "benchmarks"
DATA = "comparison.json"

_FILE_WIDTH = 160  # columns of a file that the tables are written to

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT


class Names(click.ParamType[Any, Any]):
    """Some of a set of names, with commas between them."""

    name = "name,..."

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The names, in the order of the set."""
        if not isinstance(value, str):
            return value
        wanted = [name.strip() for name in value.split(",") if name.strip()]
        for name in wanted:
            if name not in self._known:
                self.fail(f"there is no {name!r}; there are {', '.join(self._known)}", param, ctx)
        if not wanted:
            self.fail(f"name one at least of {', '.join(self._known)}", param, ctx)
        return tuple(name for name in self._known if name in wanted)


_HELP = """Measure commonpool beside its peers: same machine, database and load, in turn.

Starts MariaDB, and each peer's server with nginx in front, one at a time, on free ports. Nothing
else on the machine is touched, and nothing is left running. With all rows, all peers and the
defaults it takes an estimated hour and a half. For a short look:

\b
  python -m stack.compare --rounds 1 --seconds 2 --only 1,3 --peers shared,commonpool

Ratios count, not times: machines are shared and noisy. Leave this one alone meanwhile.
"""


def _epilog() -> str:
    rows = "\n".join(f"  {key:>4}  {row.title}" for key, row in ROWS.items())
    peers = "\n".join(f"  {name:<15}{peer.title}" for name, peer in PEERS.items())
    return f"\b\nROWS\n{rows}\n\n\b\nPEERS\n{peers}"


@click.command(
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_epilog(),
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="How often each peer is measured, in turn with the others.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 600),
    default=5.0,
    show_default=True,
    help="For each load.",
)
@click.option(
    "--only",
    "rows",
    type=Names(tuple(ROWS)),
    metavar="ROW,...",
    default=",".join(ROWS),
    help="What to measure, of the rows below. All of them by default.",
)
@click.option(
    "--peers",
    type=Names(tuple(PEERS)),
    metavar="NAME,...",
    default=",".join(PEERS),
    help="Whom to measure beside the sequential view, which others are measured against. All of "
    "those below by default; rows 2, 4 and 7 to 11 need no server, and have peers of their own.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=PAGES,
    help="The folder for the page, the plots and the samples. docs/benchmarks by default.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Measure nothing: make the page and the plots anew of the samples in this file.",
)
def compare(
    *,
    rounds: int,
    seconds: float,
    rows: tuple[str, ...],
    peers: tuple[str, ...],
    out: Path,
    source: Path | None,
) -> None:
    """Measure, and write down what was measured."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    if source is None:
        plots = _plots()
        names = tuple(name for name in PEERS if name in (*peers, SEQUENTIAL))
        with sole_user(FOLDER, "make compare"), console.status("") as status:

            def tell(what: str) -> None:
                status.update(what)
                if not console.is_terminal:
                    click.echo(what, err=True)

            recording = run(
                rows=rows, peers=names, rounds=rounds, seconds=seconds, folder=FOLDER, tell=tell
            )
    else:
        recording = Recording.read(source)
        plots = _plots()
    report.show(recording, console)
    out.mkdir(parents=True, exist_ok=True)
    recording.write(out / DATA)
    page = out / "README.md"
    page.write_text(report.markdown(recording, plots.draw(recording, out), DATA), encoding="utf-8")
    console.print(f"\nWritten: {page}")


def _plots() -> Any:
    """The module that draws.

    Raises:
        NativeError: matplotlib is not installed. Known before an hour is spent on measuring.
    """
    try:
        return import_module("stack.compare.plots")
    except ImportError:
        raise NativeError("matplotlib is not installed: pip install --group compare") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name, by default the program's; return the exit status.

    What is missing or typed wrongly is one line on standard error; Ctrl-C gives 130.
    """
    try:
        compare.main(arguments, prog_name="python -m stack.compare", standalone_mode=False)
    except click.UsageError as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    except (NativeError, RecordingError) as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nInterrupted; the servers have ended, and nothing is written.", err=True)
        return INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _prepare() -> None:
    """Make this process ready: SIGTERM is Ctrl-C, and no setting of the shell's counts."""
    signal.signal(signal.SIGTERM, _interrupt)
    for name in [*os.environ]:
        if name.startswith(("COMMONPOOL_", "STACK_", "COMPARE_")):
            del os.environ[name]


if __name__ == "__main__":
    _prepare()
    sys.exit(main())
