"""The servers, and how each of them has its worker processes end."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.running import (
    PROBE,
    ROOT,
    Ending,
    Kind,
    Running,
    catches,
    nothing,
    signal_to_main,
)

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class UWSGI(Kind):
    """uWSGI.

    Attributes:
        version: 2.0.30 is the wheel `pyuwsgi`, beside this Python; any other was compiled into an
            environment of its own.
        options: of uwsgi.ini, with underscores; `None` takes one away.
        answering: how many processes there are, where `processes` does not say it.
    """

    version: str = "2.0.31"
    options: dict[str, str | None] = field(default_factory=dict)
    answering: int | None = None

    @property
    def _options(self) -> dict[str, str | None]:
        return {
            "strict": "true",
            "master": "true",
            "need_app": "true",
            "single_interpreter": "true",
            "enable_threads": "true",
            "processes": "2",
            "module": PROBE,
            "hook_master_start": "unix_signal:15 gracefully_kill_them_all",
            **self.options,
        }

    @property
    def has_greenlets(self) -> bool:  # type: ignore[override]
        return "gevent" in self.options

    @property
    def processes(self) -> int:
        return self.answering or int(self._options["processes"] or 1)

    @property
    def forks(self) -> bool:
        return self._options["master"] is not None

    def listens(self, pid: int) -> bool:
        # the last of the handlers that a worker process sets when it begins
        return catches(pid, signal.SIGUSR2)

    def command(self, folder: Path, port: int) -> list[str | Path]:
        program = require(self.version)
        options = {**self._options, "http_socket": f"127.0.0.1:{port}"}
        if self.forks:
            options["master_fifo"] = str(folder / "fifo")
        if self.version == "2.0.30":
            options["binary_path"] = sys.executable  # what a reload starts
            options["reload_os_env"] = "true"
        else:
            options["virtualenv"] = str(program.parents[1])
        lines = ["[uwsgi]"]
        for name, value in options.items():
            if value is not None:
                key = name.replace("_", "-")
                lines += [f"{key} = {one}" for one in value.split("\n")]
        ini = folder / "uwsgi.ini"
        ini.write_text("\n".join([*lines, ""]))
        return [program, "--ini", ini]


@dataclass(frozen=True)
class Gunicorn(Kind):
    """gunicorn.

    Attributes:
        worker_class: `sync`, `gthread` or `gevent`.
        preload: whether the application is loaded in the master.
        hook: whether its configuration has our `worker_exit`.
        arguments: more of the command line.
    """

    worker_class: str
    preload: bool = False
    hook: bool = False
    arguments: tuple[str, ...] = ()

    processes = 2
    forks = True

    @property
    def has_greenlets(self) -> bool:  # type: ignore[override]
        return self.worker_class == "gevent"

    def listens(self, pid: int) -> bool:
        # what a worker process handles and its master does not
        return catches(pid, signal.SIGABRT)

    def command(self, folder: Path, port: int) -> list[str | Path]:
        config = folder / "gunicorn.conf.py"
        config.write_text("from commonpool.servers import worker_exit\n" if self.hook else "")
        return [
            sys.executable,
            *("-m", "gunicorn", "--config", config, "--bind", f"127.0.0.1:{port}"),
            *("--workers", "2", "--worker-class", self.worker_class, "--no-control-socket"),
            *(("--threads", "2") if self.worker_class == "gthread" else ()),
            *(("--preload",) if self.preload else ()),
            *self.arguments,
            PROBE,
        ]


class Waitress(Kind):
    """waitress: one process."""

    def command(self, folder: Path, port: int) -> list[str | Path]:
        del folder
        return [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", PROBE]


FLASK_APP = """
from flask import Flask
from commonpool.ext.flask import FlaskCommonPool
from tests.servers.probe import application, four_at_once

app = Flask(__name__)
FlaskCommonPool(app)
flask = app.wsgi_app

@app.get("/version")
def version():
    return {{"version": {version}, "tasks": four_at_once()}}

def either(environ, start_response):
    used = flask if environ["PATH_INFO"] == "/version" else application
    return used(environ, start_response)

app.wsgi_app = either
"""


class FlaskRun(Kind):
    """Flask's development server with its reloader, which answers from a child process.

    It runs a small application of Flask beside the probe: `FLASK_APP`, in `app.py`.
    """

    forks = True

    def command(self, folder: Path, port: int) -> list[str | Path]:
        app = folder / "app.py"
        app.write_text(FLASK_APP.format(version=1))
        arguments = ["-m", "flask", "--app", app, "run", "--debug", "--port", str(port)]
        return [sys.executable, *arguments]


def require(version: str) -> Path:
    """The program of a uWSGI; where it is missing the test is skipped, but fails in CI."""
    if version == "2.0.30":
        program = BIN / "uwsgi"
    else:
        program = ROOT / f".venv-uwsgi-{version}" / "bin" / "uwsgi"
    if not program.exists():
        if version == "2.0.26" and sys.version_info >= (3, 13):
            pytest.skip("uWSGI 2.0.26 does not compile with Python 3.13")
        reason = f"{program} is missing: make test makes it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def to_fifo(command: str) -> Ending:
    """What uWSGI's master does on a command."""

    def write(running: Running) -> None:
        (running.folder / "fifo").write_text(command)

    return Ending(write, GRACEFULLY)


GRACEFULLY = r"Gracefully killing worker \d+ \(pid: {pid}\)"
HUP = Ending(signal_to_main(signal.SIGHUP), GRACEFULLY)
TERM = Ending(signal_to_main(signal.SIGTERM), GRACEFULLY, goes_on=False)
CHAIN = to_fifo("c")
NO_MASTER_HUP = Ending(signal_to_main(signal.SIGHUP), GRACEFULLY, goes_on=False)
# With threads, the one that waits for requests is another than the one that gets the signal.
LIFETIME = Ending(nothing, r"worker \d+ lifetime reached", needs_traffic=True)
BY_ITSELF = Ending(nothing, "")
GUNICORN_HUP = Ending(signal_to_main(signal.SIGHUP), r"(?s)Hang up.*(Booting worker.*){{2}}")
GUNICORN_TERM = Ending(signal_to_main(signal.SIGTERM), "Handling signal: term", goes_on=False)
WAITRESS_INT = Ending(signal_to_main(signal.SIGINT), "", goes_on=False)

ONE_PROCESS: dict[str, str | None] = {
    "master": None,
    "processes": None,
    "hook_master_start": None,
}
MAX_REQUESTS: dict[str, str | None] = {"max_requests": "1", "min_worker_lifetime": "0"}
MAX_LIFETIME: dict[str, str | None] = {"max_worker_lifetime": "2", "min_worker_lifetime": "1"}
THREADS: dict[str, str | None] = {"threads": "2"}
# gevent is beside this Python, and so is the wheel of uWSGI.
EARLY: dict[str, str | None] = {"gevent": "20", "gevent_early_monkey_patch": "true"}
LATE: dict[str, str | None] = {"gevent": "20", "gevent_monkey_patch": "true"}

KINDS: dict[str, Kind] = {
    "uwsgi-2.0.30-one-thread": UWSGI("2.0.30"),
    "uwsgi-2.0.30-threads-lazy": UWSGI("2.0.30", {"threads": "2", "lazy_apps": "true"}),
    "uwsgi-threads": UWSGI(options=THREADS),
    "uwsgi-threads-fork-hooks": UWSGI(options={"threads": "2", "py_call_uwsgi_fork_hooks": "true"}),
    "uwsgi-one-thread-lazy": UWSGI(options={"lazy_apps": "true"}),
    "uwsgi-no-master": UWSGI(options=ONE_PROCESS),
    "uwsgi-no-master-threads": UWSGI(options={**ONE_PROCESS, **THREADS}),
    "uwsgi-several-interpreters": UWSGI(options={"single_interpreter": None}),
    "uwsgi-two-mounts": UWSGI(
        options={
            "module": None,
            "manage_script_name": "true",
            "mount": f"/={PROBE}\n/two={PROBE}",
        }
    ),
    "uwsgi-2.0.26": UWSGI("2.0.26"),
    "gunicorn-sync": Gunicorn("sync"),
    "gunicorn-sync-preload-hook": Gunicorn("sync", preload=True, hook=True),
    "gunicorn-gthread-hook": Gunicorn("gthread", hook=True),
    "gunicorn-gthread-preload": Gunicorn("gthread", preload=True),
    "gunicorn-gevent-hook": Gunicorn("gevent", hook=True),
    "gunicorn-gevent-preload": Gunicorn("gevent", preload=True),
    "uwsgi-2.0.30-gevent-early": UWSGI("2.0.30", EARLY),
    "uwsgi-2.0.30-gevent-late": UWSGI("2.0.30", LATE),
    "waitress": Waitress(),
    "flask-run": FlaskRun(),
}

# Servers differ more than their configurations do: these stand for all in what a request gets.
ONE_OF_EACH = [
    "uwsgi-2.0.30-one-thread",
    "uwsgi-threads",
    "gunicorn-sync",
    "gunicorn-gthread-preload",
    "gunicorn-gevent-hook",
    "uwsgi-2.0.30-gevent-late",
    "waitress",
    "flask-run",
]

# Every way to an end, in the configurations that matter to it.
ENDINGS: dict[str, tuple[Kind, Ending]] = {
    "uwsgi-2.0.30-one-thread-hup": (KINDS["uwsgi-2.0.30-one-thread"], HUP),
    "uwsgi-2.0.30-threads-lazy-hup": (KINDS["uwsgi-2.0.30-threads-lazy"], HUP),
    "uwsgi-threads-hup": (KINDS["uwsgi-threads"], HUP),
    "uwsgi-two-mounts-hup": (KINDS["uwsgi-two-mounts"], HUP),
    "uwsgi-several-interpreters-hup": (KINDS["uwsgi-several-interpreters"], HUP),
    "uwsgi-2.0.26-hup": (KINDS["uwsgi-2.0.26"], HUP),
    "uwsgi-one-thread-lazy-chain": (KINDS["uwsgi-one-thread-lazy"], CHAIN),
    "uwsgi-2.0.30-threads-lazy-chain": (KINDS["uwsgi-2.0.30-threads-lazy"], CHAIN),
    "uwsgi-no-master-hup": (KINDS["uwsgi-no-master"], NO_MASTER_HUP),
    "uwsgi-no-master-threads-hup": (KINDS["uwsgi-no-master-threads"], NO_MASTER_HUP),
    "uwsgi-2.0.30-one-thread-term": (KINDS["uwsgi-2.0.30-one-thread"], TERM),
    "uwsgi-threads-term": (KINDS["uwsgi-threads"], TERM),
    "uwsgi-one-thread-max-requests": (UWSGI(options=MAX_REQUESTS), BY_ITSELF),
    "uwsgi-threads-max-requests": (
        UWSGI(options={**MAX_REQUESTS, **THREADS}),
        BY_ITSELF,
    ),
    "uwsgi-one-thread-lifetime": (UWSGI(options=MAX_LIFETIME), LIFETIME),
    "uwsgi-threads-lifetime": (
        UWSGI(options={**MAX_LIFETIME, **THREADS}),
        LIFETIME,
    ),
    "gunicorn-sync-hup": (KINDS["gunicorn-sync"], GUNICORN_HUP),
    "gunicorn-sync-preload-hook-hup": (KINDS["gunicorn-sync-preload-hook"], GUNICORN_HUP),
    "gunicorn-gthread-hook-hup": (KINDS["gunicorn-gthread-hook"], GUNICORN_HUP),
    "gunicorn-gthread-preload-hup": (KINDS["gunicorn-gthread-preload"], GUNICORN_HUP),
    "gunicorn-sync-term": (KINDS["gunicorn-sync"], GUNICORN_TERM),
    "gunicorn-gthread-hook-term": (KINDS["gunicorn-gthread-hook"], GUNICORN_TERM),
    "gunicorn-gevent-hook-hup": (KINDS["gunicorn-gevent-hook"], GUNICORN_HUP),
    "gunicorn-gevent-preload-term": (KINDS["gunicorn-gevent-preload"], GUNICORN_TERM),
    "uwsgi-2.0.30-gevent-early-term": (KINDS["uwsgi-2.0.30-gevent-early"], TERM),
    "uwsgi-2.0.30-gevent-late-hup": (KINDS["uwsgi-2.0.30-gevent-late"], HUP),
    "gunicorn-sync-max-requests": (
        Gunicorn("sync", arguments=("--max-requests", "1")),
        BY_ITSELF,
    ),
    "gunicorn-gthread-max-requests": (
        Gunicorn("gthread", arguments=("--max-requests", "1")),
        BY_ITSELF,
    ),
    "waitress-int": (KINDS["waitress"], WAITRESS_INT),
}
