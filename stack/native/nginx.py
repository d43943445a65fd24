"""nginx with the project's own configuration, in a prefix of its own."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.native.child import Child
from stack.native.errors import NativeError, log_tail
from stack.native.ports import HOST, answers
from stack.native.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "nginx"
STATIC = ROOT / "stack" / "app" / "static"

MOST_REQUESTS = 120
"""Requests that uWSGI may have at a time: ``listen`` in uwsgi.ini, less room for /healthz."""

VALUES = {
    "WORKER_PROCESSES": "auto",
    "ACCESS_LOG": "logs/access.log",
    "ERROR_LOG": "logs/error.log",
    "CLIENT_RATE": "50r/s",
    "CLIENT_BURST": "100",
    "CLIENT_CONNECTIONS": "30",
    "UNLIMITED_CLIENTS": "127.0.0.1/32",
    "TRUSTED_PROXIES": "",
}
"""What the templates are filled in with, beside where nginx listens and where its files are; the
names are described in nginx/nginx.conf."""

_START_LIMIT = 10.0  # seconds; usually a tenth
_STOP_GRACE = 45.0  # seconds for requests in progress: above uwsgi_read_timeout

_HTTP2_ON = (1, 25, 1)  # the version from which on `http2 on` is a line of its own


@dataclass(frozen=True)
class TLS:
    """What nginx needs to speak TLS, too.

    Attributes:
        port: where to listen, on the loopback interface.
        certificate: a PEM file.
        key: a PEM file.
    """

    port: int
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Nginx:
    """A running server."""

    child: Child
    port: int

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def access_log(self) -> Path:
        """One line of JSON for each request."""
        return self.child.log.with_name("access.log")


def lay_out(
    prefix: Path,
    *,
    port: int,
    servers: str,
    static: Path = STATIC,
    settings: Mapping[str, str] | None = None,
    tls: TLS | None = None,
    version: tuple[int, ...] = _HTTP2_ON,
) -> Path:
    """Lay out a prefix for nginx, and return the path of its nginx.conf.

    Args:
        prefix: an empty folder, or one that was laid out before.
        port: where to listen, on the loopback interface.
        servers: where uWSGI listens: the text of app_servers.inc.
        static: the folder behind /static/.
        settings: values of the templates, in the place of `VALUES`.
        tls: for TLS, too; plain HTTP then leads there.
        version: nginx's.
    """
    for name in ("logs", "tmp"):
        (prefix / name).mkdir(parents=True, exist_ok=True)
    config = prefix / "nginx"
    shutil.rmtree(config, ignore_errors=True)
    shutil.copytree(CONFIG, config)
    filled = config / "conf.d"
    filled.mkdir()
    values = {"LISTEN": f"{HOST}:{port}", "STATIC_DIR": str(static), **VALUES}
    folders = ["templates"]
    if tls is not None:
        folders.append("tls")
        values |= {
            "TLS_LISTEN": f"{HOST}:{tls.port}",
            "TLS_CERTIFICATE": str(tls.certificate),
            "TLS_KEY": str(tls.key),
            "TLS_ORIGIN": f"https://{HOST}:{tls.port}",
        }
    values |= settings or {}
    for folder in folders:
        for template in (config / folder).glob("*.template"):
            text = _fill(template.read_text(encoding="utf-8"), values)
            if version < _HTTP2_ON:
                text = text.replace(" ssl;", " ssl http2;").replace("  http2 on;\n", "")
            (filled / template.stem).write_text(text, encoding="utf-8")
    (filled / "app_servers.inc").write_text(servers, encoding="utf-8")
    limit = f"limit_conn upstream {MOST_REQUESTS};\n"
    (filled / "app_limit.inc").write_text(limit, encoding="utf-8")
    return config / "nginx.conf"


def prepare(
    prefix: Path,
    *,
    port: int,
    uwsgi_socket: Path,
    static: Path = STATIC,
    settings: Mapping[str, str] | None = None,
    tls: TLS | None = None,
) -> list[str]:
    """Lay out a prefix for nginx, and return the command that runs it there.

    Args:
        prefix: an empty folder, or one that was laid out before.
        port: where to listen, on the loopback interface.
        uwsgi_socket: where uWSGI listens.
        static: the folder behind /static/.
        settings: values of the templates, in the place of `VALUES`.
        tls: for TLS, too; plain HTTP then leads there.

    Raises:
        NativeError: nginx is not installed, or does not tell its version.
    """
    program = find_program("nginx")
    lay_out(
        prefix,
        port=port,
        # The only server there is: never taken for unavailable after an error.
        servers=f"server unix:{uwsgi_socket} fail_timeout=0;\n",
        static=static,
        settings=settings,
        tls=tls,
        version=_version_of(program),
    )
    command = [program, "-p", f"{prefix}/", "-c", "nginx/nginx.conf", "-e", "logs/error.log"]
    if os.geteuid() == 0:
        # Else the worker processes become `nobody`, who cannot open uWSGI's socket.
        command += ["-g", f"user {getpass.getuser()};"]
    return command


def check(command: list[str]) -> str:
    """Run ``nginx -t`` and return what it says.

    Args:
        command: as `prepare` returns it.

    Raises:
        NativeError: the configuration is not valid; with nginx's own words.
    """
    done = subprocess.run(  # noqa: S603 (our own server)
        [*command, "-t"], capture_output=True, text=True, check=False, timeout=_START_LIMIT
    )
    if done.returncode:
        raise NativeError(f"nginx does not accept its configuration: {done.stderr.strip()}")
    return done.stderr


@contextmanager
def nginx(
    prefix: Path,
    *,
    port: int,
    uwsgi_socket: Path,
    settings: Mapping[str, str] | None = None,
    tls: TLS | None = None,
) -> Iterator[Nginx]:
    """Run nginx in front of uWSGI.

    Args:
        prefix: the folder for its configuration, logs and temporary files.
        port: where to listen, on the loopback interface.
        uwsgi_socket: where uWSGI listens.
        settings: values of the templates, in the place of `VALUES`.
        tls: for TLS, too; plain HTTP then leads there.

    Raises:
        NativeError: not installed, or it does not start; with the last lines of its log.
    """
    command = prepare(prefix, port=port, uwsgi_socket=uwsgi_socket, settings=settings, tls=tls)
    check(command)
    log = prefix / "logs" / "nginx.log"
    globals_at = command.index("-g") if "-g" in command else None
    if globals_at is None:
        command += ["-g", "daemon off;"]
    else:
        command[globals_at + 1] += " daemon off;"
    child = Child("nginx", command, log=log)
    try:
        try:
            child.wait_ready(lambda: answers(port), _START_LIMIT)
        except NativeError as error:
            raise NativeError(f"{error}{log_tail(prefix / 'logs' / 'error.log')}") from None
        yield Nginx(child, port)
    finally:
        # SIGQUIT lets requests in progress finish; SIGTERM would cut them off.
        child.stop(signal.SIGQUIT, _STOP_GRACE)


def _version_of(program: str) -> tuple[int, ...]:
    said = subprocess.run(  # noqa: S603 (our own server)
        [program, "-v"], capture_output=True, text=True, check=False, timeout=_START_LIMIT
    ).stderr
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise NativeError(f"{program} does not tell its version: {said.strip()}")
    return tuple(map(int, found.groups()))


def _fill(template: str, values: dict[str, str]) -> str:
    # What envsubst does for the official image: ${NAME} in capitals, so that nginx's own
    # variables stay as they are.
    return re.sub(r"\$\{([A-Z_]+)\}", lambda match: values[match[1]], template)
