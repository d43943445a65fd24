"""``commonpool plan``: answers for loads and hosts that this machine cannot produce."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from commonpool.cli import COULD_NOT_LOOK
from commonpool.cli.output import StrictCommand, discard_output, require_output
from commonpool.plan.errors import PlanError
from commonpool.plan.fitting import fit
from commonpool.plan.report import as_json, as_text
from commonpool.plan.sizing import MOST_CORES, MOST_HOSTS, Goal, answer
from commonpool.tune.errors import TuneError
from commonpool.tune.recording import read

DEFAULT_FOLDER = "tune"

_NOT_MET = 1
_MOST_RPS = 10_000_000
_MOST_SECONDS = 3_600
_INTERRUPTED = 130  # 128 + SIGINT


class _Above(click.FloatRange):
    """Numbers above 0: what click's own type takes, but for "nan"."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


@click.command("plan", cls=StrictCommand)
@click.argument("folder", type=click.Path(path_type=Path), default=Path(DEFAULT_FOLDER))
@click.option(
    "--rps",
    type=_Above(min=0, max=_MOST_RPS, min_open=True),
    required=True,
    help="Requests a second, of all hosts together.",
)
@click.option(
    "--p99",
    type=_Above(min=0, max=_MOST_SECONDS, min_open=True),
    required=True,
    help="Seconds within which 99 of 100 requests are to be answered.",
)
@click.option(
    "--hosts",
    type=click.IntRange(1, MOST_HOSTS),
    help="Hosts that there are. By default as many as it takes.",
)
@click.option(
    "--cores",
    type=click.IntRange(1, MOST_CORES),
    help="Of each host. By default as many as the machine has that was measured.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(3, 1_000_000),
    help="That the database has to spare for all hosts together. By default no limit.",
)
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
def command(
    folder: Path,
    *,
    rps: float,
    p99: float,
    hosts: int | None,
    cores: int | None,
    max_connections: int | None,
    as_data: bool,
) -> None:
    """Size hosts for a load, from what `commonpool tune` has measured in FOLDER.

    Exit status: 0 the goal is met, 1 it is not, 3 could not look (or a bad argument).
    """
    require_output()
    try:
        fitted = fit(read(folder))
        goal = Goal(rps, p99, hosts, cores or fitted.measurements.cores, max_connections)
        found = answer(fitted, goal)
    except (PlanError, TuneError) as error:
        line = str(error).partition("\n")[0]
        if not folder.exists():
            line = f"{folder} does not exist: run commonpool tune first, or name its --output"
        click.echo(f"commonpool plan: {line}", err=True)
        sys.exit(COULD_NOT_LOOK)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    try:
        if as_data:
            click.echo(json.dumps(as_json(found, fitted), indent=2))
        else:
            click.echo(as_text(found, fitted), nl=False)
    except BrokenPipeError:  # nobody reads any more: there is the exit status
        discard_output()
    except OSError as error:
        discard_output()
        click.echo(f"commonpool plan: cannot go on: {error}", err=True)
        sys.exit(COULD_NOT_LOOK)
    sys.exit(0 if found.met else _NOT_MET)
