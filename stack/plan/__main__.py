"""``python -m stack.plan``: what `make validate-plan` runs."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from commonpool.chain.figures import milliseconds
from commonpool.chain.measured import Run
from commonpool.plan.errors import PlanError
from commonpool.tune.errors import TuneError
from commonpool.tune.recording import read
from commonpool.tune.statistics import percentile
from stack.compare.machine import busy
from stack.native.errors import NativeError
from stack.native.lock import sole_user
from stack.plan import page, validation
from stack.plan.served import measuring

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".stack" / "plan"

_COULD_NOT_LOOK = 3
_BUSY = 0.3  # of each processor, from which on others are measured too


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 100), default=4, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(1, 3600), default=30.0, show_default=True, help="Of a load."
)
@click.option("--top", type=click.FloatRange(0.1, 1e6), help="Requests/s that it can do, if known.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the orders.")
@click.option("--again", is_flag=True, help="Compare what was measured last, without measuring.")
@click.option(
    "--write/--no-write",
    default=True,
    show_default=True,
    help="The figures into the documentation.",
)
def main(
    *, rounds: int, seconds: float, top: float | None, seed: int, again: bool, write: bool
) -> None:
    """Predict the dashboard's latency at loads that the fit has not seen, and measure it.

    Seven loads under uWSGI with MariaDB, four of them for the fit, in shuffled order and several
    rounds: about a quarter of an hour. Leave the machine alone meanwhile.

    Exit status: 0 all errors are as small as they are to be, 1 they are not, 3 could not look.
    """
    try:
        if busy() > _BUSY:
            click.echo(f"Others use {busy():.0%} of each processor: the figures are theirs, too.")
        if not again:
            _measure(rounds, seconds, top, seed)
        measurements = read(FOLDER)
        unseen = page.unseen(measurements)
        fitted, compared = validation.compare(measurements, unseen)
    except (NativeError, PlanError, TuneError) as error:
        click.echo(f"stack.plan: {error}", err=True)
        sys.exit(_COULD_NOT_LOOK)
    except KeyboardInterrupt:
        sys.exit(130)
    table = page.table(measurements, fitted, compared)
    click.echo(table)
    if write:
        try:
            click.echo(f"Written: {page.write(ROOT / 'docs', table)}")
        except OSError as error:
            click.echo(f"stack.plan: {error}", err=True)
            sys.exit(_COULD_NOT_LOOK)
    sys.exit(0 if all(load.is_good() for load in compared) else 1)


def _measure(rounds: int, seconds: float, top: float | None, seed: int) -> None:
    cores = len(os.sched_getaffinity(0))
    with (
        sole_user(FOLDER, "make validate-plan"),
        measuring(FOLDER / "mariadb", FOLDER, cores, _tell) as made,
    ):
        made.alone(replace(validation.SIZES, processes=1), seconds)  # one, which counts all tasks
        most = top or validation.most(made, click.echo)
        rates = [round(share * most, 1) for share in (*validation.FITTED, *validation.UNSEEN)]
        validation.measure(made, rates, rounds=rounds, seconds=seconds, seed=seed)


def _tell(run: Run) -> None:
    shown = ""
    if run.latencies:
        p50, p99 = (milliseconds(percentile(run.latencies, share)) for share in (0.5, 0.99))
        shown = f", p50 {p50}, p99 {p99}"
    failed = f", {sum(run.failures.values())} failed" if run.failures else ""
    click.echo(f"  {run.rps:6.1f} requests/s: {len(run.latencies):5,} answered{shown}{failed}")


main(prog_name="python -m stack.plan")
