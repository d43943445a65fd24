"""``python -m stack.container.bench URL``: both modes of a running stack under load, by turns."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import quantiles

import click
import httpx
from rich.console import Console
from rich.table import Table

from stack.app.runs import Mode

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT
PATIENCE = 60.0  # seconds for a request: above every limit of the stack

PAGES = {
    "the dashboard's queries": "/api/dashboard?mode={mode}",
    "5 x SLEEP(0.1) in MariaDB": "/sleep/sql?queries=5&seconds=0.1&mode={mode}",
}

_OK = 200
_TOO_MANY = 429


@dataclass(slots=True)
class Load:
    """What a number of clients saw, each of which asks again when it has its answer.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: seconds, of good answers.
        failures: everything else, by what it was.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Good answers in a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: int) -> float | None:
        """The latency, in seconds, that so many of a hundred answers did not exceed."""
        if len(self.latencies) < 2:  # noqa: PLR2004 (what quantiles() asks for)
            return self.latencies[0] if self.latencies else None
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]

    async def run(self, url: str, clients: int, seconds: float) -> None:
        """Send requests for so many seconds, and add what becomes of them."""
        limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
        async with httpx.AsyncClient(limits=limits, timeout=PATIENCE, trust_env=False) as client:
            began = time.perf_counter()

            async def ask_again() -> None:
                while time.perf_counter() - began < seconds:
                    await self._ask(client, url)

            await asyncio.gather(*(ask_again() for _ in range(clients)))
            self.seconds += time.perf_counter() - began

    async def _ask(self, client: httpx.AsyncClient, url: str) -> None:
        began = time.perf_counter()
        try:
            status = (await client.get(url)).status_code
        except httpx.HTTPError as error:
            self.failures[type(error).__name__] += 1
            await asyncio.sleep(0.1)  # who is refused at once would ask thousands of times
            return
        if status == _OK:
            self.latencies.append(time.perf_counter() - began)
        else:
            self.failures[str(status)] += 1
            await asyncio.sleep(0.1)


def measure(base: str, clients: int, seconds: float, rounds: int) -> dict[tuple[str, Mode], Load]:
    """Load every page in both modes, by turns, so that a change of the machine meets both."""
    loads = {(page, mode): Load() for page in PAGES for mode in Mode}
    for _ in range(rounds):
        for (page, mode), load in loads.items():
            asyncio.run(load.run(base + PAGES[page].format(mode=mode.value), clients, seconds))
    return loads


def table(loads: dict[tuple[str, Mode], Load], clients: int) -> Table:
    """The figures, in milliseconds and requests a second."""
    shown = Table(title=f"{clients} client{'s'[: clients > 1]}", title_justify="left", box=None)
    shown.add_column("")
    shown.add_column("mode")
    for column in ("requests/s", "p50, ms", "p99, ms", "failed"):
        shown.add_column(column, justify="right")
    for (page, mode), load in loads.items():
        shown.add_row(
            page,
            mode.value,
            f"{load.rate:.1f}",
            _milliseconds(load.percentile(50)),
            _milliseconds(load.percentile(99)),
            str(load.failures.total()),
        )
    return shown


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("url", metavar="URL")
@click.option(
    "--clients",
    type=click.IntRange(1, 1000),
    multiple=True,
    default=(1, 8),
    show_default=True,
    help="That ask at a time; can be given again.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=2.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=2, show_default=True)
def bench(url: str, clients: tuple[int, ...], seconds: float, rounds: int) -> int:
    """Load the stack at URL, and print requests a second and latencies in both modes.

    Exit status: 0 if every request was answered well; else 1.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    failures: Counter[str] = Counter()
    for number in clients:
        loads = measure(url.rstrip("/"), number, seconds, rounds)
        console.print(table(loads, number))
        console.print()
        for load in loads.values():
            failures += load.failures
    if failures:
        console.print("Failed: " + ", ".join(f"{n} x {what}" for what, n in failures.items()))
    if failures[str(_TOO_MANY)]:
        console.print("429 is nginx's limit for one client: CLIENT_RATE, CLIENT_CONNECTIONS.")
    return 1 if failures else 0


def main() -> int:
    """Run the command, and return the exit status."""
    try:
        return int(bench.main(prog_name="python -m stack.container.bench", standalone_mode=False))
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
