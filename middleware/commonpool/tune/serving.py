"""uWSGI, started with sizes, watched, and always ended."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from commonpool.chain.measured import Sizes
from commonpool.tune import configuration, probe
from commonpool.tune.errors import ServerError, TuneError
from commonpool.tune.grid import words
from commonpool.tune.unix_peers import peer_names, socket_inodes

_START_LIMIT = 60.0  # seconds for every worker process to load the application
_LOOK = 0.02  # seconds between two looks
_STOP_GRACE = 2.0  # seconds for an end in good order: there are no clients any more
_ATTEMPTS = 3  # to find a port that nobody else takes before uWSGI does
_LINES = 8  # of the log, in an error

_DATABASE_PORTS = {1433, 1521, 3306, 5432, 6432, 26257, 33060}
_DATABASE_SOCKETS = re.compile(r"mysql|maria|\.s\.PGSQL")
_DATABASE_URL = re.compile(r"^(mysql|mariadb|postgres\w*|mssql|oracle|cockroachdb)(\+\w+)?://")

_ERROR = (
    r"^(?!OSError: write error)"  # the client did not wait for the answer
    r"[\w.]+(?:Error|Exception|Timeout|Exceeded)\b.*$"
)

_COMPLAINT = (
    r"^(?!\s*\*\*\* WARNING: )"  # uWSGI's remarks when it starts
    r".*\b(?:CRITICAL|ERROR|WARNING|[Tt]oo many connections|DAMN ! worker)\b.*$"
)

# Ends a process group when this process has ended, however that was: then its input is at its end.
_GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"

# Ends the program when this process is killed outright, which leaves it no time to do so itself.
_TETHER = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux':\n"
    "    ctypes.CDLL(None).prctl(1, 9)\n"
    "    if os.getppid() != int(sys.argv[1]):\n"  # it was killed before
    "        sys.exit()\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


@dataclass
class Server:
    """uWSGI, running.

    Attributes:
        url: that it answers on, without a path.
        sizes: of it.
        log: its log.
        tasks: the file in which it tells how many tasks its pool has run, where that is asked.
        workers: its worker processes.
    """

    url: str
    sizes: Sizes
    log: Path
    tasks: Path
    _process: subprocess.Popen[bytes]
    _stats: Path
    _ports: set[int]
    workers: list[psutil.Process] = field(default_factory=list)

    def processor_seconds(self) -> float:
        """That the worker processes have used until now."""
        used = 0.0
        for worker in self.workers:
            with suppress(psutil.Error):
                times = worker.cpu_times()
                used += times.user + times.system
        return used

    def memory(self) -> list[int]:
        """Bytes of each worker process: its own, and its share of what it shares (PSS)."""
        sizes = []
        for worker in self.workers:
            with suppress(psutil.Error):
                told = worker.memory_full_info()
                sizes.append(int(getattr(told, "pss", told.rss)))
        return sizes

    def connections(self) -> int:
        """To databases, of all worker processes at this moment: TCP, and UNIX sockets."""
        names = peer_names()
        count = 0
        for worker in self.workers:
            with suppress(psutil.Error):
                count += sum(
                    bool(it.raddr) and it.raddr.port in self._ports
                    for it in worker.net_connections(kind="tcp")
                    if it.status == psutil.CONN_ESTABLISHED
                )
            count += sum(
                bool(_DATABASE_SOCKETS.search(names.get(inode, "")))
                for inode in socket_inodes(worker.pid)
            )
        return count

    def require_running(self) -> None:
        """Do nothing while it runs.

        Raises:
            ServerError: it has ended; with the last lines of its log.
        """
        if _has_ended(self._process):
            raise ServerError(f"uWSGI ended by itself with {words(self.sizes)}{tail(self.log)}")

    def last_error(self) -> str:
        """The last line of the log that looks like an exception; empty where there is none."""
        with suppress(OSError):
            text = self.log.read_bytes()[-200_000:].decode(errors="replace")
            for pattern in (_ERROR, _COMPLAINT):
                if found := re.findall(pattern, text, re.MULTILINE):
                    return hide_passwords(found[-1])[:200]
        return ""

    def look_for_workers(self) -> bool:
        """Find the worker processes; whether all of them have loaded the application."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self._stats))
                with connection.makefile("rb") as answer:
                    workers = json.load(answer)["workers"]
            if not all(worker["pid"] > 0 and worker["apps"] for worker in workers):
                return False
            self.workers = [psutil.Process(worker["pid"]) for worker in workers]
        except (OSError, ValueError, KeyError, psutil.Error):
            return False
        return True


@dataclass
class Place:
    """What is the same for all servers of one `commonpool tune`.

    Attributes:
        program: uWSGI.
        ini: the user's file.
        environ: of this process.
        pool_variable: in which the application reads the size of its connection pool.
        placeholders: the names that stand for ``processes`` and ``threads`` in the file.
        log: where the servers write, one after the other.
    """

    program: Path
    ini: Path
    environ: Mapping[str, str]
    pool_variable: str | None
    placeholders: Mapping[str, str]
    log: Path

    def environ_for(self, sizes: Sizes) -> dict[str, str]:
        """The environment in which the file is read, and the application runs."""
        environ = {**self.environ, configuration.WORKERS: str(sizes.max_workers)}
        if self.pool_variable and sizes.connections is not None:
            environ[self.pool_variable] = str(sizes.connections)
        return environ

    @contextmanager
    def serve(
        self,
        sizes: Sizes,
        *,
        probed: bool = False,
    ) -> Iterator[Server]:
        """Run uWSGI with sizes until the block is left, however that happens.

        Args:
            sizes: of it.
            probed: whether it tells how many tasks its pool has run; see `probe`.

        Raises:
            ServerError: it does not start, or the application does not; with the end of its log.
            TuneError: it does not take the file.
        """
        environ = self.environ_for(sizes)
        more: tuple[str, ...] = ()
        # Under /tmp whatever TMPDIR says: the path of a UNIX socket has 107 bytes at most.
        with tempfile.TemporaryDirectory(prefix="commonpool-tune-", dir="/tmp") as name:
            folder = Path(name)
            placeholders = {
                placeholder: getattr(sizes, option)
                for option, placeholder in self.placeholders.items()
            }
            found = configuration.ask(self.program, self.ini, folder, environ, placeholders)
            if self.pool_variable and sizes.connections is not None:
                more = (f"env = {self.pool_variable}={sizes.connections}",)
            stats, tasks = folder / "stats.sock", folder / "tasks"
            if probed:
                environ[probe.VARIABLE] = str(tasks)
                more = (*more, f"import = {probe.__name__}")
            _give(folder, found)
            ini = folder / "uwsgi.ini"
            ini.touch(mode=0o600)  # it may hold passwords
            for attempt in range(_ATTEMPTS):
                port = _free_port()
                ini.write_text(found.derived(sizes, port, stats, more), encoding="utf-8")
                self.log.write_bytes(b"")
                process = self._start(ini, environ)
                guard = _guard(process)
                url = f"http://127.0.0.1:{port}"
                server = Server(url, sizes, self.log, tasks, process, stats, _ports(environ, found))
                try:
                    try:
                        _wait_until_ready(server, process)
                    except ServerError:
                        if attempt + 1 < _ATTEMPTS and _port_was_taken(self.log):
                            continue
                        raise
                    yield server
                    return
                finally:
                    _stop(process, guard, server.workers)

    def _start(self, ini: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # A variable UWSGI_* is an option to uWSGI, and has been read with the file.
        environ = {name: value for name, value in environ.items() if not name.startswith("UWSGI_")}
        with self.log.open("ab") as output:
            try:
                return subprocess.Popen(  # noqa: S603 - uWSGI
                    [
                        *(sys.executable, "-ISc", _TETHER, str(os.getpid())),
                        *(str(self.program), "--ini", str(ini)),
                    ],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise TuneError(f"{self.program} cannot be started: {error.strerror}") from None


def _give(folder: Path, found: configuration.Configuration) -> None:
    """Let uWSGI write into a folder of ours as whom it changes to (``uid``, ``gid``)."""
    if os.geteuid():
        return  # then it cannot change
    with suppress(LookupError, OSError):  # what it does not know either, it says itself
        for name, database in (("uid", pwd.getpwnam), ("gid", grp.getgrnam)):
            given = found.last(name)
            if given is None:
                continue
            number = int(given) if given.isdecimal() else database(given)[2]
            os.chown(folder, *((number, -1) if name == "uid" else (-1, number)))


def tail(log: Path) -> str:
    """The last lines of a log, indented, each on a line of its own; passwords hidden."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    shown = [line for line in lines if line.strip()][-_LINES:]
    return "".join(f"\n    {hide_passwords(line)[:300]}" for line in shown)


def hide_passwords(text: str) -> str:
    """A text without the passwords of URLs, nor the values of secret variables."""
    text = re.sub(r"(\w://[^\s:/@]*:)[^\s@]+@", r"\1***@", text)
    return re.sub(r"(?i)\b(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\s*[=:]\s*)\S+", r"\1***", text)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_LIMIT
    while not server.look_for_workers():
        if _has_ended(process):
            raise ServerError(
                f"the application does not start with {words(server.sizes)}{tail(server.log)}"
            )
        if time.monotonic() > end:
            raise ServerError(
                f"the application was not loaded after {_START_LIMIT:g} s with "
                f"{words(server.sizes)}{tail(server.log)}"
            )
        time.sleep(_LOOK)


def _guard(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own line
        [sys.executable, "-ISc", _GUARD, str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stop(
    process: subprocess.Popen[bytes],
    guard: subprocess.Popen[bytes],
    workers: Sequence[psutil.Process],
) -> None:
    """End a server and all its process group; its worker processes in good order, if they can.

    The master notices a second later that they have ended, which is not waited for.
    """
    try:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGQUIT)
        end = time.monotonic() + _STOP_GRACE
        while not _has_ended(process) and time.monotonic() < end:
            if workers and not any(_runs(worker) for worker in workers):
                break
            time.sleep(_LOOK)
    finally:
        # Before it is reaped: until then its id, and so that of its group, stays its own.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        guard.kill()
        guard.communicate()
        process.wait()


def _runs(worker: psutil.Process) -> bool:
    try:
        status: str = worker.status()
        return status != "zombie"
    except psutil.Error:
        return False


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    # Looks without reaping: see `_stop`.
    with suppress(ChildProcessError):
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, process.pid, flags) is not None
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _port_was_taken(log: Path) -> bool:
    return "Address already in use" in log.read_text(errors="replace")


def _ports(environ: Mapping[str, str], found: configuration.Configuration) -> set[int]:
    """Ports on which a database may listen: the usual ones, and those of URLs that are set."""
    ports = set(_DATABASE_PORTS)
    values = [*environ.values(), *(value for name, value in found.options if name == "env")]
    for value in values:
        url = value.partition("=")[2] if not _DATABASE_URL.match(value) else value
        if _DATABASE_URL.match(url):
            with suppress(ValueError):
                ports.add(urlsplit(url).port or 0)
    return ports - {0}
