"""``python -m stack.tuning``: `commonpool tune` on the dashboard, from a deliberately bad file.

It begins with one process, one thread and a pool of two, and is to find a setting that serves at
least three times the load at the same p99.

MariaDB runs for real, and waits before each query as if it were across a network. It has a week of
the flights.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click

from stack.native.errors import NativeError
from stack.native.lock import sole_user
from stack.native.mariadb import mariadb
from stack.native.servers import run_folder
from stack.native.week import load_week

ROOT = Path(__file__).resolve().parents[2]
STACK = ROOT / ".stack"
INI = Path(__file__).with_name("uwsgi.ini")

_URL = "http://127.0.0.1:8080/api/dashboard?mode=parallel"
_LATENCY = "100"  # milliseconds for a statement
_P99 = "1.0"  # seconds
_LEAST = 3.0  # times the load at present
_LIMIT = 600.0  # seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--p99", default=_P99, show_default=True, help="Seconds, the limit.")
@click.option("--latency", default=_LATENCY, show_default=True, help="Milliseconds for a query.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=STACK / "tune-demo",
    help="Folder for the report.",
)
@click.option("--budget", default="480", show_default=True, help="Seconds for the search.")
def demo(p99: str, latency: str, output: Path, budget: str) -> None:
    """Tune the dashboard from one process, one thread and a pool of two."""
    began = time.monotonic()
    with sole_user(STACK, "make tune-demo"), run_folder() as run:
        with mariadb(STACK / "tuning", run) as database:
            load_week(database.url, STACK / "tuning")
            environ = {
                **os.environ,
                "DATABASE_URL": database.url,
                "STACK_DB_LATENCY_MS": os.environ.get("STACK_DB_LATENCY_MS") or latency,
            }
            program = shutil.which("commonpool", path=str(Path(sys.executable).parent))
            if program is None:
                raise NativeError("commonpool is not installed: make tune-demo")
            command = [
                *(program, "tune", _URL, "--ini", str(INI), "--p99", p99),
                *("--pool-variable", "STACK_POOL_SIZE", "--output", str(output)),
                *("--budget", budget),
            ]
            status = _wait(subprocess.Popen(command, env=environ, start_new_session=True))  # noqa: S603
        if status:
            raise NativeError(f"commonpool tune ended with {status}")
    _judge(json.loads((output / "result.json").read_text(encoding="utf-8")), began)


def _wait(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()  # it writes its report of what it has
        child.wait()
        raise


def _judge(result: dict[str, dict[str, float]], began: float) -> None:
    present, found = result["present"]["figure"], result["recommended"]["figure"]
    took = time.monotonic() - began
    times = found / present if present else float("inf")
    click.echo(
        f"\n{present:.3g} requests/s at first, {found:.3g} as recommended: {times:.1f} times the "
        f"load at the same p99. It took {took:.0f} s."
    )
    if times < _LEAST or took > _LIMIT:
        raise NativeError(f"asked for are {_LEAST:g} times, in {_LIMIT:g} s")


def main() -> int:
    """Run it; the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demo.main(prog_name="python -m stack.tuning", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.UsageError as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    except NativeError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
