"""``python -m stack.client``: asks URLs many times at once, and prints answers as they arrive."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import click
import httpx
from rich.console import Console
from rich.table import Table

console = Console(highlight=False)

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT


@dataclass(frozen=True, slots=True)
class Arrival:
    """What has become of one request.

    Attributes:
        url: what was asked for.
        seconds: from the moment at which all were sent.
        status: of the answer; `None` where there was none.
        error: why there was none.
    """

    url: str
    seconds: float
    status: int | None = None
    error: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it was answered, and not with an error."""
        return self.status is not None and not httpx.codes.is_error(self.status)

    def __str__(self) -> str:
        what = self.error if self.status is None else str(self.status)
        return f"{self.seconds:8.3f} s  {what}  {self.url}"


async def arrivals(urls: list[str], number: int, patience: float) -> AsyncIterator[Arrival]:
    """Ask for each URL so many times, all at once; the answers in the order of their arrival.

    Args:
        urls: whole ones.
        number: requests for each of them.
        patience: seconds for each request.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    # what was named is asked itself, not a proxy of the surroundings
    async with httpx.AsyncClient(limits=limits, timeout=patience, trust_env=False) as client:
        began = time.perf_counter()

        async def ask(url: str) -> Arrival:
            status, error = None, ""
            try:
                async with asyncio.timeout(patience):
                    status = (await client.get(url)).status_code
            except TimeoutError:
                error = f"no answer within {patience:g} s"
            except (httpx.HTTPError, OSError) as failure:
                error = f"{type(failure).__name__}: {failure}".rstrip(": ")
            return Arrival(url, time.perf_counter() - began, status, error)

        for arrived in asyncio.as_completed([ask(url) for url in urls for _ in range(number)]):
            yield await arrived


async def show(urls: list[str], number: int, patience: float, seen: list[Arrival]) -> None:
    """Print the answers as they arrive, and keep them in `seen`."""
    async for arrival in arrivals(urls, number, patience):
        seen.append(arrival)
        console.print(str(arrival), style=None if arrival.succeeded else "red", markup=False)


def summary(urls: list[str], number: int, seen: list[Arrival]) -> Table:
    """What arrived, for each URL and in all.

    Args:
        urls: what was asked for.
        number: how many times each of them.
        seen: the arrivals.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for column in ("requests", "answered", "first, s", "last, s", "waited in all, s"):
        table.add_column(column, justify="right")
    for url in urls:
        _add(table, url, number, [arrival for arrival in seen if arrival.url == url])
    if len(urls) > 1:
        _add(table, "all", number * len(urls), seen)
    return table


def _add(table: Table, name: str, requests: int, seen: list[Arrival]) -> None:
    answered = [arrival.seconds for arrival in seen if arrival.succeeded]
    table.add_row(
        name,
        str(requests),
        str(len(answered)),
        f"{min(answered):.3f}" if answered else "-",
        f"{max(answered):.3f}" if answered else "-",
        f"{sum(answered):.3f}",
    )


def whole(_context: click.Context, _argument: click.Parameter, urls: tuple[str, ...]) -> list[str]:
    """The URLs as they were given, each once.

    Raises:
        click.BadParameter: one of them is no address that a request can be sent to.
    """
    for url in urls:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise click.BadParameter(f"{url!r}: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise click.BadParameter(f"{url!r} is not an address such as http://127.0.0.1:8080/")
    return list(dict.fromkeys(urls))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("urls", metavar="URL...", callback=whole, nargs=-1, required=True)
@click.option(
    "-n",
    "number",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="Requests for each URL, all at once.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for each request.",
)
def client(urls: list[str], number: int, timeout: float) -> int:
    """Ask for each URL many times at once, and print the answers as they arrive.

    Exit status: 0 if all were answered, and none with an error; else 1.
    """
    seen: list[Arrival] = []
    try:
        asyncio.run(show(urls, number, timeout, seen))
    finally:
        if seen:
            console.print()
            console.print(summary(urls, number, seen))
    return 0 if all(arrival.succeeded for arrival in seen) else 1


def main() -> int:
    """Run the command, and return the exit status."""
    try:
        return int(client.main(prog_name="python -m stack.client", standalone_mode=False))
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
