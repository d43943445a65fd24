"""``python -m stack.soak``: what `make soak` runs."""

from __future__ import annotations

import shutil
import signal
import sys
from types import FrameType

import click
from rich.console import Console
from rich.progress import Progress

from stack.native.errors import NativeError
from stack.native.lock import sole_user
from stack.native.mariadb import mariadb
from stack.native.servers import ROOT, run_folder
from stack.soak import report
from stack.soak.soak import soak_at

FOLDER = ROOT / ".stack" / "soak"

console = Console(highlight=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.IntRange(min=10), default=600, show_default=True)
@click.option("--tasks", type=click.IntRange(min=0), default=1_000_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--growth",
    type=click.FloatRange(min=0),
    default=5,
    show_default=True,
    help="How many per cent the memory of a process may grow.",
)
def soak(seconds: int, tasks: int, seed: int, growth: float) -> None:
    """Run tasks that fail, hang and are given up, and reload, through nginx, uWSGI and MariaDB.

    There are at least as many tasks as asked for, or else it is a failure. See `stack.soak.times`
    for what is measured when.
    """
    with sole_user(FOLDER, "make soak"):
        for old in FOLDER.glob("*.log"):
            old.unlink()
        shutil.rmtree(FOLDER / "farewells", ignore_errors=True)
        with (
            run_folder() as run,
            mariadb(FOLDER / "mariadb", run) as database,
            Progress(console=console, transient=True) as progress,
        ):
            bar = progress.add_task("", total=1)
            done, faults = soak_at(
                database.url,
                FOLDER,
                seconds=seconds,
                tasks=tasks,
                seed=seed,
                growth=growth / 100,
                tell=lambda what, share: progress.update(bar, description=what, completed=share),
            )
    report.show(done, console)
    for fault in faults:
        console.print(fault, style="red", markup=False)
    if faults:
        raise click.ClickException(f"the soak has failed; see the logs in {FOLDER}")
    console.print("The soak has passed: right answers, flat memory, nothing left over.")


def main() -> int:
    """Run the command; a fault, or a server that does not start, is told, and 1."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        soak.main(prog_name="python -m stack.soak", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (NativeError, TimeoutError) as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
