"""A peer, served: its server in its own process, nginx in front, and a look whether it works."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from sqlalchemy import make_url

from stack.compare.budget import Budget
from stack.compare.front import front
from stack.compare.peers import QUERIES, Peer
from stack.native.child import Child
from stack.native.processes import group_members
from stack.native.servers import run_folder
from stack.native.uwsgi import uwsgi
from stack.native.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
_INI = Path(__file__).with_name("uwsgi.ini")

_LOAD_LIMIT = 60.0  # seconds for a server's processes to load the application
_ANSWER_LIMIT = 30.0  # seconds for the first answers
_LOOK = 0.3  # seconds without work, after which a server is at rest
_STOP_GRACE = 5.0  # seconds: there are no clients any more


class PeerError(Exception):
    """A peer could not be measured; the message says why in one line."""


def require(peer: Peer) -> None:
    """Make sure that what a peer needs is installed.

    Raises:
        PeerError: it is not.
    """
    for module, distribution in peer.packages.items():
        if importlib.util.find_spec(module) is None:
            raise PeerError(f"{distribution} is not installed: pip install --group compare")


@contextmanager
def served(peer: Peer, budget: Budget, database_url: str, folder: Path) -> Iterator[str]:
    """Run a peer's server with nginx in front, and yield where it answers.

    When it is yielded every worker process has loaded the application, and it has answered rightly.

    Args:
        peer: which.
        budget: what each of its processes may use.
        database_url: of MariaDB, with any driver.
        folder: for logs.

    Raises:
        PeerError: something that it needs is not installed, or it answers wrongly.
        NativeError: a server does not start.
    """
    require(peer)
    budget = dataclasses.replace(budget, threads=peer.threads(budget))
    url = make_url(database_url).set(drivername=peer.driver)
    environ = {
        **os.environ,
        **budget.environ(),
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "COMPARE_APPLICATION": peer.application,
        "PYTHONPATH": str(ROOT),
    }
    log = folder / f"{peer.name}.log"
    log.unlink(missing_ok=True)
    with run_folder() as run:
        if peer.server == "uwsgi":
            with (
                uwsgi(log, environ, run=run, ini=_INI) as server,
                front(run, server.socket, "uwsgi") as address,
            ):
                yield _works(peer, address, log)
            return
        socket = run / "peer.sock"
        command = COMMANDS[peer.server](peer, budget, socket)
        child = Child(peer.server, command, log=log, environ=environ)
        try:
            child.wait_ready(socket.exists, _LOAD_LIMIT)
            with suppress(TimeoutError):  # a server may have something to do for ever
                wait_until(partial(_at_rest, child), _ANSWER_LIMIT)
            with front(run, socket, "http") as address:
                yield _works(peer, address, log)
        finally:
            child.stop(grace=_STOP_GRACE)


def _gunicorn(peer: Peer, budget: Budget, socket: Path) -> list[str | Path]:
    return [
        *(sys.executable, "-m", "gunicorn", f"{peer.application}()", "--bind", f"unix:{socket}"),
        *("--worker-class", "gevent", "--workers", str(budget.processes), "--no-control-socket"),
        *("--log-level", "warning"),
    ]


def _uvicorn(peer: Peer, budget: Budget, socket: Path) -> list[str | Path]:
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", peer.application, "--uds", socket),
        *("--workers", str(budget.processes), "--no-access-log", "--log-level", "warning"),
    ]


COMMANDS = {"gunicorn": _gunicorn, "uvicorn": _uvicorn}


def _at_rest(child: Child) -> bool:
    """Whether none of a server's processes works.

    So all of them have loaded the application: not every server says when that is.
    """
    before = _ticks(child)
    time.sleep(_LOOK)
    return before == _ticks(child)


def _ticks(child: Child) -> int:
    """The processor time that a child and its processes have used, in the kernel's ticks."""
    ticks = 0
    for pid in group_members(child.pid):
        with suppress(OSError):  # it has ended since
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks


def _works(peer: Peer, address: str, log: Path) -> str:
    """Ask for each route once, and return the address.

    Raises:
        PeerError: an answer is wrong.
    """
    for path, right in (
        ("/one?seconds=0", [0]),
        (f"/queries?count={QUERIES}&seconds=0", list(range(QUERIES))),
        (f"/queries?count={QUERIES}&seconds=0&user=1", list(range(QUERIES))),
    ):
        answer = _answer(f"{address}{path}")
        if answer != {"results": right}:
            raise PeerError(f"{peer.title} answers {path} with {answer!r:.80}; see {log}")
    return address


def _answer(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_LIMIT) as response:  # noqa: S310 - ours
            return json.load(response)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return str(error)
