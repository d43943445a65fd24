"""uWSGI with the project's own uwsgi.ini."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stack.native.child import Child
from stack.native.errors import NativeError
from stack.native.ports import HOST
from stack.native.processes import group_members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
INI = ROOT / "uwsgi.ini"

ENVIRON = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""What a program cannot set for itself: see "Memory" in docs/operations.md."""

_START_LIMIT = 60.0  # seconds for every worker process to load the application
_LOADED = re.compile(r"^WSGI app \d+ .* ready in .* pid: (\d+)", re.MULTILINE)

_QUIT_GRACE = 5.0  # seconds for an end that waits for nothing
_STOP_GRACE = 50.0  # seconds, above worker-reload-mercy in uwsgi.ini: requests may finish


@dataclass(frozen=True)
class UWSGI:
    """A running server: where it listens, and what it tells of itself."""

    child: Child
    run: Path | None
    port: int | None

    @property
    def socket(self) -> Path:
        """The UNIX socket for nginx; with a run folder only."""
        return self._run() / "uwsgi.sock"

    def stats(self) -> dict[str, Any]:
        """Return what the stats server says of each worker process; with a run folder only.

        Raises:
            OSError: it does not answer.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._run() / "stats.sock"))
            with connection.makefile("rb") as answer:
                stats: dict[str, Any] = json.load(answer)
                return stats

    def worker_pids(self) -> list[int]:
        """Return the process ids of the worker processes that can answer; with a run folder only.

        Empty while a reload or the start is going on.
        """
        try:
            workers = self.stats()["workers"]
        except (OSError, ValueError):
            return []
        ready = all(worker["pid"] > 0 and worker["apps"] for worker in workers)
        return [worker["pid"] for worker in workers] if ready else []

    def reload(self) -> None:
        """Ask for a graceful reload: the program anew, and new worker processes."""
        self.child.send(signal.SIGHUP)

    def stop(self) -> None:
        """Answer the requests that are running, then end. Safe to call again."""
        self.child.stop(signal.SIGTERM, _STOP_GRACE)

    def _run(self) -> Path:
        if self.run is None:
            raise RuntimeError("uWSGI was started without a run folder")
        return self.run


@contextmanager
def uwsgi(
    log: Path,
    environ: Mapping[str, str],
    *,
    run: Path | None = None,
    port: int | None = None,
    ini: Path = INI,
    limit: float = _START_LIMIT,
) -> Iterator[UWSGI]:
    """Run uWSGI, and wait until it can answer.

    Args:
        log: its log, appended to.
        environ: its whole environment, but for `ENVIRON` where it says nothing of that;
            `DATABASE_URL` and `STACK_*` belong here.
        run: the folder of its sockets, with nginx in front (``STACK_RUN_DIR``).
        port: the port for HTTP, without nginx (``PORT``). One of the two is needed.
        ini: its configuration.
        limit: seconds until it can answer.

    Raises:
        NativeError: not installed, or it does not start; with the last lines of its log.
    """
    if (run is None) == (port is None):
        raise ValueError("uWSGI needs a run folder or a port, not both")
    given = {name: value for name, value in environ.items() if not name.startswith("UWSGI_")}
    environ = ENVIRON | given
    environ.pop("STACK_RUN_DIR", None)
    environ.pop("PORT", None)
    environ |= {"STACK_RUN_DIR": str(run)} if run else {"PORT": str(port)}
    program = _program()
    if _is_script(program):
        environ["STACK_PYUWSGI"] = sys.executable
    child = Child("uWSGI", [program, "--ini", ini], log=log, environ=environ)
    server = UWSGI(child, run, port)
    try:
        try:
            child.wait_ready(
                lambda: (
                    _all_have_loaded(child)
                    and (server.worker_pids() if port is None else _answers(port))
                ),
                limit,
            )
        except BaseException:
            # SIGTERM would wait for processes that are still loading the application: for
            # worker-reload-mercy. There is no request to be answered yet.
            child.stop(signal.SIGQUIT, _QUIT_GRACE)
            raise
        yield server
    finally:
        server.stop()


def _all_have_loaded(child: Child) -> bool:
    """Whether every worker process has loaded the application, or the master has for all.

    One that has not answers nothing, and does not hear that it is to end.
    """
    loaded = {int(pid) for pid in _LOADED.findall(child.log.read_text(errors="replace"))}
    workers = {*group_members(child.pid)} - {child.pid}
    return child.pid in loaded or (bool(workers) and workers <= loaded)


def _program() -> Path:
    program = Path(sys.executable).parent / "uwsgi"
    if not program.exists():
        raise NativeError(
            f"uWSGI is not installed beside {sys.executable}: "
            "python -m pip install --group stack (or: make demo)"
        )
    return program


def _is_script(program: Path) -> bool:
    # The wheel pyuwsgi installs a Python script; uWSGI compiled is a program of its own.
    with program.open("rb") as file:
        return file.read(2) == b"#!"


def _answers(port: int) -> bool:
    # Any answer will do: whether the database is well is for /healthz to say, not for the start.
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
