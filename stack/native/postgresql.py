"""PostgreSQL in a folder: its own data, socket, port and user."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.native.child import Child
from stack.native.errors import NativeError, log_tail
from stack.native.ports import HOST, free_port
from stack.native.programs import find_program
from stack.native.users import User, database_user, is_root, own

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE = "flights"
USER = "flights"

MAX_CONNECTIONS = 100  # PostgreSQL's default, written down because the pools' sizes lean on it

_INSTALL_LIMIT = 120.0  # seconds; usually two
_START_LIMIT = 60.0  # seconds; usually less than one, more after a crash
_STOP_GRACE = 30.0  # seconds to write what is in memory; usually less than one

_SUPERUSER = "postgres"  # whom nobody can log in as: only the programs here act in its name
_PROTOCOL = 3 << 16  # version 3.0, which every server since 7.4 speaks
_LOG_IN = b"R"  # the server's answer to whom it would let in; an error is "E"

# What a loss of power may cost is nothing to a database that is thrown away after the tests.
_THROW_AWAY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class PostgreSQL:
    """A running server."""

    child: Child
    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """What SQLAlchemy takes: psycopg 3 over TCP."""
        return f"postgresql+psycopg://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def socket_url(self) -> str:
        """The same over the UNIX socket, which lies in ``folder``."""
        return (
            f"postgresql+psycopg://{USER}:{self.password}@/{DATABASE}"
            f"?host={self.folder}&port={self.port}"
        )


@contextmanager
def postgresql(folder: Path, run: Path, *, durable: bool = False) -> Iterator[PostgreSQL]:
    """Run PostgreSQL, with the database ``flights`` and a user of that name who owns it.

    The server is told to end by SIGINT, on which it ends the connections that are still open.

    Args:
        folder: for its data and log. What is there already is used again, by the same major
            version of PostgreSQL only.
        run: for its socket; a short path, since a UNIX socket's is limited to 107 bytes.
        durable: what is committed survives a crash of the machine. Without it, much is faster.

    Raises:
        NativeError: not installed, or it does not start, with the last lines of its log; or we
            are root and there is no user ``postgres`` who could get at ``folder``.
    """
    program = find_program("postgres")
    folder.mkdir(parents=True, exist_ok=True)
    user = database_user(folder / "data", "postgres")
    if user is None and is_root():
        raise NativeError(
            f"PostgreSQL does not run as root, and there is no user 'postgres' who can get at "
            f"{folder}"
        )
    _install(folder, user)
    password = secrets.token_urlsafe(24)
    # The password has neither quotes nor backslashes.
    _as_superuser(folder, user, [f"ALTER ROLE {USER} PASSWORD '{password}'"])
    ours = run / "postgresql"
    ours.mkdir()
    own(ours, user)
    access = ours / "pg_hba.conf"
    access.write_text(_ACCESS, encoding="utf-8")
    own(access, user)
    port = free_port()
    settings = (
        f"listen_addresses={HOST}",
        f"port={port}",
        f"unix_socket_directories={ours}",
        f"hba_file={access}",
        f"external_pid_file={ours / 'postgresql.pid'}",
        f"max_connections={MAX_CONNECTIONS}",
        f"max_prepared_transactions={MAX_CONNECTIONS}",  # two-phase commit; 0 by default
        *([] if durable else _THROW_AWAY),
    )
    child = Child(
        "PostgreSQL",
        [
            *_inside(folder),
            program,
            *("-D", folder / "data"),
            *(word for setting in settings for word in ("-c", setting)),
        ],
        log=folder / "postgresql.log",
        user=user,
    )
    try:
        child.wait_ready(lambda: _lets_in(port), _START_LIMIT)
        yield PostgreSQL(child, ours, port, password)
    finally:
        child.stop(signal.SIGINT, _STOP_GRACE)


# Nobody but our user, and only with the password.
_ACCESS = f"""\
local {DATABASE} {USER}              scram-sha-256
host  {DATABASE} {USER} {HOST}/32 scram-sha-256
"""


def _install(folder: Path, user: User | None) -> None:
    data, stamp = folder / "data", folder / "installed"
    if stamp.exists():
        return
    shutil.rmtree(data, ignore_errors=True)  # half made, when it was interrupted
    data.mkdir()
    own(data, user)
    command = [
        find_program("initdb"),
        f"--pgdata={data}",
        f"--username={_SUPERUSER}",
        "--auth=reject",  # who is let in stands in a file of our own
        "--encoding=UTF8",
        "--locale=C",  # the same order of rows on every machine
        "--no-sync",  # a crash in here only means to install again
    ]
    _run(command, folder, user)
    _as_superuser(
        folder,
        user,
        [
            f"CREATE ROLE {USER} LOGIN",
            f"CREATE DATABASE {DATABASE} OWNER {USER}",
        ],
    )
    stamp.touch()


def _as_superuser(folder: Path, user: User | None, statements: list[str]) -> None:
    # A server without connections, which reads statements from its input, one on each line.
    command = [
        *(find_program("postgres"), "--single"),
        *("-D", str(folder / "data")),
        *("-c", "exit_on_error=on"),
        *("-c", "password_encryption=scram-sha-256"),  # md5 by default before version 14
        _SUPERUSER,  # the database of that name, which initdb makes
    ]
    _run(command, folder, user, "".join(f"{statement}\n" for statement in statements))


def _run(command: list[str], folder: Path, user: User | None, lines: str = "") -> None:
    name, log = command[0].rpartition("/")[2], folder / "install.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(  # noqa: S603 (our own server)
                command,
                cwd=folder,
                input=lines.encode(),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_INSTALL_LIMIT,
                check=False,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )
        except subprocess.TimeoutExpired:
            raise NativeError(f"{name} took more than {_INSTALL_LIMIT:g} s; see {log}") from None
    if done.returncode:
        raise NativeError(f"{name} failed; see {log}{log_tail(log)}")


def _inside(folder: Path) -> list[str | Path]:
    # Before version 16 it does not start in a working directory that its user may not enter, such
    # as a clone in root's home.
    return ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder]


def _lets_in(port: int) -> bool:
    # While it starts, it answers already, but with an error. Whoever is asked for a password can
    # log in.
    wanted = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(struct.pack("!ii", 8 + len(wanted), _PROTOCOL) + wanted)
            return connection.recv(1) == _LOG_IN
    except OSError:
        return False
