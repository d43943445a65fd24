"""The whole stack: MariaDB with the data in it, uWSGI, and nginx in front."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.native.errors import NativeError
from stack.native.mariadb import MariaDB, mariadb
from stack.native.nginx import Nginx, nginx
from stack.native.ports import free_port
from stack.native.uwsgi import UWSGI, uwsgi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stack.native.child import Child

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Site:
    """The application, and nginx in front of it."""

    uwsgi: UWSGI
    nginx: Nginx


@dataclass(frozen=True)
class Servers:
    """The whole stack."""

    mariadb: MariaDB
    site: Site

    @property
    def children(self) -> tuple[Child, ...]:
        """The processes, in the order in which they were started."""
        return self.mariadb.child, self.site.uwsgi.child, self.site.nginx.child


@contextmanager
def run_folder() -> Iterator[Path]:
    """Make a folder for sockets, and remove it in the end.

    It lies under /tmp, whatever TMPDIR says: the path of a UNIX socket has 107 bytes at most. Its
    name cannot be guessed; others may pass through it (MariaDB's own user has to), but see nothing.
    """
    with tempfile.TemporaryDirectory(prefix="commonpool-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def load(database_url: str, *, quiet: bool = False) -> None:
    """Load the data, as `python -m stack load` does; nothing happens where it is there already.

    Args:
        database_url: where to.
        quiet: say nothing, unless it fails.

    Raises:
        NativeError: it failed.
        KeyboardInterrupt: it was interrupted.
    """
    done = subprocess.run(
        [sys.executable, "-m", "stack", "load"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url},
        stdin=subprocess.DEVNULL,
        capture_output=quiet,
        text=True,
        check=False,
    )
    if done.returncode == _INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        said = f": {done.stderr.strip()}" if quiet else "; see above"
        raise NativeError(f"the data could not be loaded{said}")


_INTERRUPTED = 130  # 128 + SIGINT


@contextmanager
def site(
    folder: Path,
    database_url: str,
    *,
    port: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Run uWSGI and nginx on a database that is there already.

    Args:
        folder: for logs and nginx's files; what is there already is used again.
        database_url: what the application uses.
        port: where nginx listens; by default any free port.
        environ: variables for uWSGI, beside those of this process.

    Raises:
        NativeError: a program is missing, or a server does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, **(environ or {}), "DATABASE_URL": database_url}
    with (
        run_folder() as run,
        uwsgi(folder / "uwsgi.log", variables, run=run) as application,
        nginx(folder / "nginx", port=port or free_port(), uwsgi_socket=application.socket) as front,
    ):
        yield Site(application, front)


@contextmanager
def servers(
    folder: Path,
    *,
    port: int | None = None,
    durable: bool = False,
    quiet: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Servers]:
    """Run MariaDB, uWSGI and nginx, with the data loaded.

    Args:
        folder: for data and logs; what is there already is used again.
        port: where nginx listens; by default any free port.
        durable: see `mariadb`.
        quiet: the loader says nothing.
        environ: variables for uWSGI, beside those of this process.

    Raises:
        NativeError: a program is missing, or a server does not start.
    """
    with run_folder() as run, mariadb(folder / "mariadb", run, durable=durable) as database:
        load(database.url, quiet=quiet)
        with site(folder, database.url, port=port, environ=environ) as running:
            yield Servers(database, running)
