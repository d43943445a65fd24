"""``python -m stack.native``: what `make demo` and `make stack` run."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stack.native.errors import NativeError
from stack.native.lock import sole_user
from stack.native.ports import HOST, require_free
from stack.native.programs import find_program
from stack.native.servers import load, servers
from stack.native.uwsgi import uwsgi

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from stack.native.child import Child

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo"
STACK = ROOT / ".stack"

_DEMO_LATENCY = "100"  # milliseconds for a statement, as if the database were across a network
_LOOK = 0.5  # seconds between two looks at whether the servers are still there

_port = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    envvar="PORT",
    help="Where to answer, on 127.0.0.1.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def native() -> None:
    """Run the reference stack on this machine, in the foreground. Ctrl-C ends it."""


@native.command()
@_port
def demo(port: int) -> None:
    """Run uWSGI alone, with SQLite and a delay of 100 ms for each statement."""
    require_free(port)
    database_url = os.environ.get("DATABASE_URL") or f"sqlite:///{DEMO / 'flights.db'}"
    latency = os.environ.get("STACK_DB_LATENCY_MS") or _DEMO_LATENCY
    with sole_user(DEMO, "make demo"):
        load(database_url)
        require_free(port)  # loading takes a while, the first time
        log = DEMO / "uwsgi.log"
        environ = {
            **os.environ,
            "DATABASE_URL": database_url,
            "STACK_DB_LATENCY_MS": latency,
        }
        with uwsgi(log, environ, port=port) as server:
            _welcome(
                f"http://{HOST}:{port}",
                f"Each statement takes {latency} ms longer here, as if the database were far away.",
                log,
            )
            _watch([server.child])


@native.command()
@_port
def stack(port: int) -> None:
    """Run nginx, uWSGI and MariaDB."""
    require_free(port)
    for program in ("nginx", "mariadbd", "mariadb-install-db"):
        find_program(program)
    with sole_user(STACK, "make stack"), servers(STACK, port=port, durable=True) as running:
        _welcome(
            running.site.nginx.url,
            "nginx, uWSGI and MariaDB are running on this machine.",
            STACK,
        )
        _watch(running.children)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` name, by default the program's; return the exit status.

    Ctrl-C is the way to end it, so it is no error: 0. Anything that keeps a server from running is
    one line on standard error, perhaps with the end of its log, and 1.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        native.main(arguments, prog_name="python -m stack.native", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    except NativeError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return 0


def _welcome(url: str, first: str, log: Path) -> None:
    click.echo(
        f"""
{first}

  {url}
      a page of slow queries, side by side; its switch runs them one after another
  {url}/api/dashboard?mode=sequential
  {url}/api/dashboard?mode=parallel
      the same as JSON: when each query ran, on which thread, and how long all of them took
  {url}/sleep/sql?seconds=0.2&queries=6
      six queries of 0.2 s in one request

Ctrl-C ends it. Logs: {log}
"""
    )


def _watch(children: Sequence[Child]) -> None:
    try:
        while True:
            for child in children:
                child.require_running()
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        click.echo("\nEnding, once running requests have finished. Ctrl-C cuts them off.")
        raise


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
