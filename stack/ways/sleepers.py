"""`stack.ways.sleeping_site` served by gunicorn and by uWSGI, on a MariaDB of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import make_url

from stack.native.child import Child
from stack.native.errors import NativeError
from stack.native.mariadb import mariadb
from stack.native.ports import HOST, answers, free_port
from stack.native.servers import run_folder
from stack.native.uwsgi import uwsgi
from stack.ways import Timing
from stack.ways.serving import PATIENCE, unless_missing

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "stack.ways.sleeping_site:create()"

MYSQLCLIENT = "mysql+mysqldb"
PYMYSQL = "mysql+pymysql"
MODULES = {MYSQLCLIENT: "MySQLdb", PYMYSQL: "pymysql"}

UWSGI_PROCESSES = 2  # in uwsgi.ini
UWSGI_THREADS = 50  # for each

_START_LIMIT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Sleeper:
    """One way to serve it.

    Attributes:
        way: what the table calls it.
        worker_class: gunicorn's; "" for uWSGI.
        driver: SQLAlchemy's name for it.
        commonpool: whether the application has the middleware.
        connections: of each process's pool; 0 for SQLAlchemy's default.
    """

    way: str
    worker_class: str = ""
    driver: str = MYSQLCLIENT
    commonpool: bool = False
    connections: int = 0

    @property
    def missing(self) -> Timing | None:
        """What there is to say where it cannot be served; else `None`."""
        modules = [MODULES[self.driver]]
        if self.worker_class:
            modules.append("gunicorn")
        if self.worker_class == "gevent":
            modules.append("gevent")
        return unless_missing(self.way, *modules)


@contextmanager
def database() -> Iterator[str]:
    """Run MariaDB while the block runs; its address, for mysqlclient.

    Raises:
        NativeError: it is not installed, or does not start.
    """
    with ExitStack() as stack:
        folder, run = stack.enter_context(run_folder()), stack.enter_context(run_folder())
        yield stack.enter_context(mariadb(folder, run)).tcp_url


@contextmanager
def served_by(sleeper: Sleeper, url: str) -> Iterator[str]:
    """Serve it in processes of its own while the block runs; its address.

    Args:
        sleeper: how.
        url: of MariaDB.

    Raises:
        NativeError: the server does not start.
    """
    port = free_port()
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": make_url(url)
        .set(drivername=sleeper.driver)
        .render_as_string(hide_password=False),
        "WAYS_CONNECTIONS": str(sleeper.connections or ""),
        "WAYS_COMMONPOOL": "yes" if sleeper.commonpool else "",
        "COMMONPOOL_DEADLINE": "inf",
    }
    with run_folder() as folder:
        log = folder / "server.log"
        if not sleeper.worker_class:
            ini = Path(__file__).with_name("uwsgi.ini")
            with uwsgi(log, environ, port=port, ini=ini):
                yield f"http://{HOST}:{port}"
            return
        child = Child("gunicorn", _gunicorn(sleeper.worker_class, port), log=log, environ=environ)
        try:
            child.wait_ready(partial(answers, port), _START_LIMIT)
            yield f"http://{HOST}:{port}"
        finally:
            child.stop(grace=1.0)  # what still sleeps is not waited for


def _gunicorn(worker_class: str, port: int) -> list[str | Path]:
    return [
        *(sys.executable, "-m", "gunicorn", APPLICATION, "--bind", f"{HOST}:{port}"),
        *("--workers", "1", "--worker-class", worker_class, "--timeout", f"{PATIENCE:.0f}"),
        *("--no-control-socket", "--log-level", "warning"),
    ]


def measured(sleepers: Sequence[Sleeper], timing: Callable[[Sleeper, str], Timing]) -> list[Timing]:
    """What is measured of each; or why it is not.

    Args:
        sleepers: which.
        timing: measures one, on a database of this address.
    """
    try:
        with database() as url:
            return [sleeper.missing or timing(sleeper, url) for sleeper in sleepers]
    except NativeError as error:
        why = str(error).partition("\n")[0]
        return [Timing(way=sleeper.way, note=why) for sleeper in sleepers]
