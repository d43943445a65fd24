"""What uWSGI itself makes of a file, and the file that it is started with instead.

uWSGI is asked (`show-config`), so includes, placeholders, conditions and every format are read as
they count, by the uWSGI that will run. It stops before it opens a socket or starts a process.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from commonpool import PoolConfig
from commonpool.chain.measured import Sizes
from commonpool.tune.errors import TuneError

WORKERS = "COMMONPOOL_MAX_WORKERS"
DEFAULT_WORKERS = PoolConfig().max_workers

_LIMIT = 20.0  # seconds for uWSGI to read a file
_STOP = "exit 7"
_FORMATS = {".yaml": "--yaml", ".yml": "--yaml", ".json": "--json", ".js": "--json"}

# What would disturb, or be disturbed by, a server that runs on this machine with the same file, or
# make a measurement of something else: left out.
_LEFT_OUT_PREFIXES = (
    "http",
    "https",
    "fastcgi",
    "scgi",
    "suwsgi",
    "ssl-",
    "raw-",
    "puwsgi",
    "stats",
    "carbon",
    "snmp",
    "subscribe",
    "zerg",
    "emperor",
    "vassal",
    "legion",
    "spooler",
    "cheaper",
    "touch-",
    "fs-",
    "flock",
    "alarm",
    "attach-",
    "smart-attach-",
    "master-fifo",
    "pidfile",
    "safe-pidfile",
    "daemonize",
    "logto",
    "exec-asap",
    "hook-asap",
)
_LEFT_OUT = {
    *("socket", "s", "uwsgi-socket", "map-socket", "shared-socket", "undeferred-shared-socket"),
    *("socket-protocol", "protocol", "chmod-socket", "chown-socket", "chmod", "chown"),
    *("cron", "cron2", "unique-cron", "cron-harakiri", "idle", "die-on-idle"),
    *(
        "logger",
        "req-logger",
        "logger-list",
        "log-master-bufsize",
        "syslog",
        "rsyslog",
        "log-syslog",
    ),
    *("py-autoreload", "python-autoreload", "py-auto-reload", "fallback-config", "metrics-dir"),
    *("M-fifo", "d", "binary-path", "lock-engine", "pidfile2", "snapshot"),
}
# How a file is put together, which uWSGI has done by then.
_LOGIC = {
    *("ini", "yaml", "yml", "json", "js", "xml", "config", "include", "inherit"),
    *("set", "set-placeholder", "set-ph", "placeholder", "ph", "strict", "show-config"),
    *("endif", "end-if", "endfor", "end-for", "vassal-set", "inject-before", "inject-after"),
}
_LOOPS = ("if-", "for", "print")

_GREENLETS = ("gevent", "asyncio", "async", "ugreen", "greenlet", "tornado")


@dataclass(frozen=True)
class Configuration:
    """The options that count, in the order in which uWSGI takes them, magic resolved."""

    options: Sequence[tuple[str, str]]

    def last(self, *names: str) -> str | None:
        """The value that counts of an option with these names; `None` where it is not given."""
        found = [value for name, value in self.options if name in names]
        return found[-1] if found else None

    def environ(self, name: str) -> str | None:
        """What a variable is set to by ``env``; `None` where it is not."""
        found = [
            value.partition("=")[2]
            for option, value in self.options
            if option == "env" and value.partition("=")[0] == name
        ]
        return found[-1] if found else None

    def left_out(self) -> list[str]:
        """Options that are not used when the application is measured, each once."""
        return sorted({name for name, _ in self.options if _is_left_out(name)})

    def sizes(self, environ: Mapping[str, str], pool_variable: str | None) -> Sizes:
        """What is set at present."""
        workers = _number(self.environ(WORKERS) or environ.get(WORKERS), DEFAULT_WORKERS)
        connections = None
        if pool_variable:
            given = self.environ(pool_variable) or environ.get(pool_variable)
            connections = _number(given, workers)
        return Sizes(
            processes=_number(self.last("processes", "workers"), 1),
            threads=_number(self.last("threads"), 1),
            max_workers=workers,
            connections=connections,
        )

    def require_threads(self, ini: Path) -> None:
        """Make sure that threads are what serves requests.

        Raises:
            TuneError: an event loop does.
        """
        for name in _GREENLETS:
            if (self.last(name) or "0") not in {"", "0", "false"}:
                raise TuneError(
                    f"{ini} sets {name}: tune varies threads, and with an event loop there are none"
                )

    def derived(self, sizes: Sizes, port: int, stats: Path, more: Sequence[str] = ()) -> str:
        """The text of a file for a server of its own with these sizes.

        Args:
            sizes: of it.
            port: on which it answers HTTP, on 127.0.0.1.
            stats: the path of its stats socket.
            more: lines to add.
        """
        kept = [
            f"{name} = {value.replace('%', '%%')}"
            for name, value in self.options
            if name not in _LOGIC and not name.startswith(_LOOPS) and not _is_left_out(name)
        ]
        ours = [
            f"processes = {sizes.processes}",
            f"threads = {sizes.threads}",
            f"env = {WORKERS}={sizes.max_workers}",
            "reload-os-env = true",  # in the wheel, Python has read its environment by then
            "need-app = true",
            "no-orphans = true",
            f"http-socket = 127.0.0.1:{port}",
            f"stats = {stats}",
            *more,
        ]
        return "\n".join(["[uwsgi]", *kept, *ours, ""])


def _is_left_out(name: str) -> bool:
    return name in _LEFT_OUT or name.startswith(_LEFT_OUT_PREFIXES)


def ask(
    program: Path,
    ini: Path,
    folder: Path,
    environ: Mapping[str, str],
    placeholders: Mapping[str, int] | None = None,
) -> Configuration:
    """Have uWSGI read a file.

    Args:
        program: uWSGI.
        ini: the file.
        folder: for what it writes; of our own.
        environ: in which it reads the file.
        placeholders: that are to have other values than the file gives them.

    Raises:
        TuneError: it finds a mistake in the file.
    """
    log = folder / "config.log"
    log.write_bytes(b"")
    first = [f"--set-placeholder={name}={value}" for name, value in (placeholders or {}).items()]
    command = [
        str(program),
        *first,  # of two placeholders of a name the first counts
        *("--hook-pre-jail", f"exec:{_STOP}", "--exec-pre-jail", _STOP),
        *(_FORMATS.get(ini.suffix, "--ini"), str(ini)),
        "--show-config",
        # Of two values the last counts, so nothing is written where the file says:
        *("--daemonize", str(log)),
        *("--pidfile", str(folder / "config.pid"), "--safe-pidfile", str(folder / "config.pid2")),
    ]
    # What is held open by all of uWSGI, which detaches itself: at its end it writes to the folder.
    ended, held = os.pipe()
    try:
        try:
            done = subprocess.run(  # noqa: S603 - uWSGI
                command,
                env=dict(environ),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT,
                check=False,
                pass_fds=(held,),
            )
        except subprocess.TimeoutExpired:
            raise TuneError(f"{program} did not read {ini} in {_LIMIT:g} s") from None
        except OSError as error:
            raise TuneError(f"{program} cannot be run: {error.strerror}") from None
        finally:
            os.close(held)
        _wait_for_hangup(ended)
    finally:
        os.close(ended)
    told = log.read_text(errors="replace")
    options = _options(told)
    if not any(option == "show-config" for option, _ in options):
        said = [line for line in (done.stderr + done.stdout + told).splitlines() if line.strip()]
        said = [line for line in said if not line.startswith("[uWSGI] getting")]
        raise TuneError(
            f"uWSGI does not take {ini}: {said[-1] if said else f'status {done.returncode}'}"
        )
    end = next(number for number, (name, _) in enumerate(options) if name == "show-config")
    return Configuration(_without_ours(options[:end]))


def find_program() -> Path:
    """uWSGI: beside the Python that runs this, else on the PATH.

    Raises:
        TuneError: it is not there.
    """
    beside = Path(sys.executable).parent / "uwsgi"
    if os.access(beside, os.X_OK):
        return beside
    found = which("uwsgi")
    if found is None:
        raise TuneError(
            f"there is no uwsgi, neither beside {sys.executable} nor on the PATH: pip install uwsgi"
        )
    return Path(found)


def _wait_for_hangup(pipe: int) -> None:
    """Until nobody holds the other end."""
    waiting = select.poll()
    waiting.register(pipe, 0)  # a hangup is always told
    waiting.poll(_LIMIT * 1000)


def _options(told: str) -> list[tuple[str, str]]:
    body = told.partition("[uwsgi]\n")[2].partition(";end of configuration")[0]
    pairs = (line.partition(" = ") for line in body.splitlines() if " = " in line)
    return [(name, value) for name, _, value in pairs]


def _without_ours(options: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What the file says: without our options, and without the names of placeholders.

    A placeholder is told twice: ``set-placeholder = name=8``, and ``name = 8``.
    """
    ours = {("hook-pre-jail", f"exec:{_STOP}"), ("exec-pre-jail", _STOP)}
    names = {
        value.partition("=")[0]
        for name, value in options
        if name in {"set-placeholder", "set-ph", "set"}
    }
    return [
        (name, value) for name, value in options if (name, value) not in ours and name not in names
    ]


def _number(text: str | None, default: int) -> int:
    try:
        return max(int(text or default), 1)
    except ValueError:
        return default
