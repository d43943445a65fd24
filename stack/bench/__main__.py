"""``python -m stack.bench``: what `make bench` runs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stack.bench import dashboard, entities, fan_out, footprint, regression, requests
from stack.bench.samples import Samples
from stack.native.errors import NativeError
from stack.native.servers import servers as start

FOLDER = Path(__file__).resolve().parents[2] / ".stack" / "bench"

console = Console(highlight=False)

MICRO = 1e6
MILLI = 1e3


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 1000), default=30, show_default=True)
@click.option("--servers/--no-servers", default=True, help="With nginx, uWSGI and MariaDB, or not.")
@click.option(
    "--quick", is_flag=True, help="Count instead what does not depend on the machine: in seconds."
)
@click.option("--record", is_flag=True, help="Keep those counts, to be held against from now on.")
def bench(rounds: int, *, servers: bool, quick: bool, record: bool) -> None:
    """Measure commonpool beside its peers, by turns, on this machine.

    Ratios count, not times: machines are shared and noisy.
    """
    if quick or record:
        count(keep=record)
        return
    console.print(machine())
    show_fan_out(fan_out.measure(progress(rounds, "fan-out of 20 tasks")))
    show_footprint(footprint.footprint(), footprint.measure(progress(rounds, "unused middleware")))
    if servers:
        with start(FOLDER, environ=requests.ENVIRON) as running:
            show_requests(requests.measure(running.site, progress(rounds, "requests")))
            url = running.mariadb.url
            show_entities(*entities.measure(url, progress(rounds, "objects")))
            show_dashboard(dashboard.measure(url, progress(rounds, "dashboard")))


def count(*, keep: bool) -> None:
    """Count what the pool costs, and hold it against the record, or keep it as that.

    Raises:
        click.ClickException: something has grown by more than is allowed.
    """
    numbers, before = regression.measure(), regression.recorded() or {}
    table = Table(title=f"What it costs, Python {regression.PYTHON}", title_justify="left")
    table.add_column("")
    for column in ("now", "recorded", "ratio"):
        table.add_column(column, justify="right")
    for what, number in numbers.items():
        old = before.get(what)
        ratio = "" if not old else f"{number / old:.3f}"
        table.add_row(what, f"{number:,}", "" if old is None else f"{old:,}", ratio)
    console.print(table)
    if keep:
        regression.record(numbers)
        return
    if not before:
        raise click.ClickException(
            f"nothing is recorded for Python {regression.PYTHON}: make bench ARGS=--record"
        )
    if grown := regression.grown(numbers, before):
        raise click.ClickException("it costs more than it did:\n  " + "\n  ".join(grown))


def progress(rounds: int, what: str) -> Iterable[int]:
    """The rounds, with a bar for them where somebody is looking."""
    return track(range(rounds), what, console=console, transient=True)


def machine() -> str:
    """What it is measured on."""
    with Path("/proc/cpuinfo").open() as cpuinfo:
        models = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("commonpool", "flask", "sqlalchemy")
    )
    return (
        f"{len(os.sched_getaffinity(0))} x {models[0] if models else platform.machine()}, "
        f"{platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}\n{packages}"
    )


def show_fan_out(samples: Mapping[str, Samples]) -> None:
    """Print what a fan-out of no-ops costs, beside the limits that are set for it."""
    show(f"A fan-out of {fan_out.TASKS} tasks that do nothing", samples, MICRO, "us", fan_out.BARE)
    verdict(
        samples[fan_out.OURS_WITH_DEADLINE].median / samples[fan_out.BARE].median,
        0.2,
        "of the bare executor's time, in a request with a deadline",
    )
    verdict(samples[fan_out.OURS_WITH_DEADLINE].median * MICRO, 25, "us, the goal")


def show_footprint(left: footprint.Footprint, samples: Mapping[str, Samples]) -> None:
    """Print what an unused middleware costs."""
    show("A request that does not use the pool", samples, MICRO, "us", footprint.WITHOUT)
    added = samples[footprint.WITH].median - samples[footprint.WITHOUT].median
    verdict(added * MICRO, 3, "us added by the middleware")
    verdict(left.threads, 0, "threads started by an unused middleware")
    console.print(f"  {left.kibibytes / 1024:.1f} MiB of memory for it and all that it imports")


def show_requests(samples: Mapping[str, Samples]) -> None:
    """Print how long requests take."""
    show(
        f"A request with {requests.QUERIES} queries of {requests.SECONDS * MILLI:.0f} ms, "
        "through nginx, uWSGI and MariaDB",
        samples,
        MILLI,
        "ms",
        requests.ONE_QUERY,
    )
    ratio = samples[requests.OURS].median / samples[requests.ONE_QUERY].median
    verdict(ratio, 1.03, "of the same request with one query", digits=3)


def show_entities(processor: Mapping[str, Samples], elapsed: Mapping[str, Samples]) -> None:
    """Print what it costs to load objects side by side."""
    what = f"{entities.STATEMENTS} statements that load {entities.ENTITIES:,} objects together"
    show(f"{what}: processor time", processor, MILLI, "ms", entities.SEQUENTIAL)
    ratio = processor[entities.OURS].median / processor[entities.SEQUENTIAL].median
    verdict(ratio, 1.25, "of the processor time of one after another")
    verdict(ratio, 1.1, "of it, the goal")
    show(f"{what}: time", elapsed, MILLI, "ms", entities.SEQUENTIAL)


def show_dashboard(samples: Mapping[str, Samples]) -> None:
    """Print how long the dashboard's statements take."""
    show(
        f"{dashboard.STATEMENTS} statements of the dashboard, MariaDB",
        samples,
        MILLI,
        "ms",
        dashboard.SEQUENTIAL,
    )


def show(
    title: str, samples: Mapping[str, Samples], scale: float, unit: str, reference: str
) -> None:
    """Print a table of peers, each with its ratio to one of them."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for column in (f"median, {unit}", "10 % to 90 %", "ratio"):
        table.add_column(column, justify="right")
    for name, measured in samples.items():
        low, high = measured.spread
        table.add_row(
            name,
            f"{measured.median * scale:.1f}",
            f"{low * scale:.1f} to {high * scale:.1f}",
            f"{measured.median / samples[reference].median:.3f}",
        )
    console.print()
    console.print(table)


def verdict(value: float, limit: float, what: str, digits: int = 2) -> None:
    """Print a figure beside the limit that it should not exceed."""
    word = "within" if value <= limit else "above"
    console.print(f"  {value:.{digits}f} {what}: {word} {limit:g}")


def main() -> int:
    """Run the command; a server that is missing or does not start is one line, and 1."""
    try:
        bench.main(prog_name="python -m stack.bench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except NativeError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
