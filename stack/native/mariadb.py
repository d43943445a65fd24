"""MariaDB in a folder: its own data, socket, port and user."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.native.child import Child
from stack.native.errors import NativeError, log_tail
from stack.native.ports import HOST, free_port
from stack.native.programs import find_program
from stack.native.users import User, database_user, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DATABASE = "flights"
USER = "flights"

MAX_CONNECTIONS = 151  # MariaDB's default, written down because the pools' sizes lean on it

_INSTALL_LIMIT = 120.0  # seconds; usually three
_START_LIMIT = 60.0  # seconds; usually one, more after a crash
_STOP_GRACE = 30.0  # seconds to write what is in memory; usually one
_HANDSHAKE = 5  # bytes: a packet header, and the protocol's version

# What a loss of power may cost is nothing to a database that is thrown away after the tests.
_THROW_AWAY = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--sync-binlog=0",
)


@dataclass(frozen=True)
class MariaDB:
    """A running server."""

    child: Child
    socket: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """What ``DATABASE_URL`` takes: mysqlclient over the UNIX socket."""
        return (
            f"mysql+mysqldb://{USER}:{self.password}@localhost/{DATABASE}"
            f"?unix_socket={self.socket}&charset=utf8mb4"
        )

    @property
    def tcp_url(self) -> str:
        """The same over TCP."""
        return (
            f"mysql+mysqldb://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}?charset=utf8mb4"
        )


@contextmanager
def mariadb(
    folder: Path, run: Path, *, durable: bool = False, options: Sequence[str] = ()
) -> Iterator[MariaDB]:
    """Run MariaDB, with the database ``flights`` and a user of that name who owns it.

    Args:
        folder: for its data and log. What is there already is used again.
        run: for its socket; a short path, since a UNIX socket's is limited to 107 bytes.
        durable: what is committed survives a crash. Without it, loading is much faster.
        options: more of the server's own.

    Raises:
        NativeError: not installed, or it does not start; with the last lines of its log.
    """
    program = find_program("mariadbd")
    folder.mkdir(parents=True, exist_ok=True)
    user = database_user(folder / "data")
    ours = run / "mariadb"
    ours.mkdir()
    own(ours, user)
    _install(folder, ours, user)
    password = secrets.token_urlsafe(24)
    init_file = ours / "init.sql"
    init_file.write_text(_init_sql(password), encoding="utf-8")
    own(init_file, user)
    path, port = ours / "mariadb.sock", free_port()
    child = Child(
        "MariaDB",
        [
            program,
            "--no-defaults",  # nothing of the system's own server: no port, socket or user of it
            f"--datadir={folder / 'data'}",
            f"--socket={path}",
            f"--pid-file={ours / 'mariadb.pid'}",
            f"--tmpdir={ours}",
            f"--bind-address={HOST}",
            f"--port={port}",
            "--skip-name-resolve",  # no DNS for a connection
            f"--init-file={init_file}",  # run before the first connection is accepted
            f"--max-connections={MAX_CONNECTIONS}",
            "--character-set-server=utf8mb4",
            *([] if durable else _THROW_AWAY),
            *options,
            *_as_root(user),
        ],
        log=folder / "mariadb.log",
        user=user,
    )
    try:
        child.wait_ready(lambda: _greets(path), _START_LIMIT)
        yield MariaDB(child, path, port, password)
    finally:
        child.stop(grace=_STOP_GRACE)


def _install(folder: Path, ours: Path, user: User | None) -> None:
    data, stamp, log = folder / "data", folder / "installed", folder / "install.log"
    if stamp.exists():
        return
    program = find_program("mariadb-install-db")
    shutil.rmtree(data, ignore_errors=True)  # half made, when it was interrupted
    data.mkdir()
    own(data, user)
    with log.open("wb") as output:
        try:
            done = subprocess.run(  # noqa: S603 (our own server)
                [
                    program,
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--tmpdir={ours}",  # a server that starts removes all others' tables in it
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    *_as_root(user),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_INSTALL_LIMIT,
                check=False,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )
        except subprocess.TimeoutExpired:
            raise NativeError(
                f"mariadb-install-db took more than {_INSTALL_LIMIT:g} s; see {log}"
            ) from None
    if done.returncode:
        raise NativeError(f"mariadb-install-db failed; see {log}{log_tail(log)}")
    stamp.touch()


def _as_root(user: User | None) -> list[str]:
    # Root has to say that it means it, where there is no other user whose the folder could be.
    return ["--user=root"] if user is None and os.geteuid() == 0 else []


def _init_sql(password: str) -> str:
    # One statement a line, which is all that an init file may have. The account 'localhost' is
    # for the socket, the other for TCP. The password has neither quotes nor backslashes.
    lines = [f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4;"]
    for host in ("localhost", HOST):
        account = f"'{USER}'@'{host}'"
        lines += [
            f"CREATE OR REPLACE USER {account} IDENTIFIED BY '{password}';",
            f"GRANT ALL ON {DATABASE}.* TO {account};",
        ]
    return "\n".join([*lines, ""])


def _greets(path: Path) -> bool:
    # The server speaks first; whoever is greeted can log in.
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            return len(connection.recv(_HANDSHAKE)) == _HANDSHAKE
    except OSError:
        return False
