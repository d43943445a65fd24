"""What is measured: the dashboard under uWSGI, with MariaDB, both on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from commonpool.chain.measured import Run
from commonpool.tune import configuration, edits
from commonpool.tune.generator import Generator
from commonpool.tune.measuring import Measuring
from commonpool.tune.recording import Recording
from commonpool.tune.serving import Place
from stack.native.mariadb import mariadb
from stack.native.servers import run_folder
from stack.native.uwsgi import INI
from stack.native.week import load_week

TARGET = "/api/dashboard?mode=parallel"
POOL_VARIABLE = "STACK_POOL_SIZE"
LATENCY_MS = 100
"""Added to each statement, as if the database were across a network."""

_HOST = "127.0.0.1"


@contextmanager
def measuring(
    folder: Path, recorded: Path, cores: int, told: Callable[[Run], None]
) -> Iterator[Measuring]:
    """Run MariaDB with a week of flights, and make ready to measure the dashboard.

    Args:
        folder: for the database; what is there already is used again.
        recorded: the folder for the measurements.
        cores: of this machine.
        told: is called with each measurement.

    Raises:
        NativeError: a program is missing, or a server does not start.
        TuneError: uWSGI is missing, or the measurements cannot be written.
    """
    with run_folder() as run, mariadb(folder, run) as database:
        load_week(database.url, folder)
        environ = {
            **os.environ,
            "DATABASE_URL": database.url,
            "STACK_DB_LATENCY_MS": str(LATENCY_MS),
        }
        with (
            Recording(
                recorded, url=f"http://{_HOST}{TARGET}", ini=INI.name, cores=cores
            ) as recording,
            Generator(_HOST) as generator,
        ):
            yield Measuring(
                Place(
                    configuration.find_program(),
                    INI,
                    environ,
                    POOL_VARIABLE,
                    edits.placeholders(edits.read(INI, environ)),
                    recorded / "uwsgi.log",
                ),
                TARGET,
                generator,
                recording,
                told,
            )
