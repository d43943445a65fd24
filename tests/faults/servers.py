"""A database server that can be frozen, killed and started again, and taken all connections of."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from stack.native.child import Child
from stack.native.mariadb import mariadb
from stack.native.postgresql import postgresql
from stack.native.servers import run_folder
from stack.native.users import database_user
from tests.helpers import frozen, wait_until
from tests.sqlalchemy.databases import Database, end_other_connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

START_LIMIT = 60.0  # seconds, with the recovery after a crash; usually one


class Server(Database):
    """MariaDB or PostgreSQL, in a folder of its own, to be ill-treated.

    Attributes:
        port: where it listens, also after it was started again.
    """

    port: int
    _child: Child
    _command: list[str]
    _folder: Path
    _cleanup: ExitStack

    @classmethod
    def started(cls, family: str, cleanup: ExitStack, **options: Any) -> Self:
        """Start one; it ends with `cleanup`. The options are those of what starts it."""
        folder, run = cleanup.enter_context(run_folder()), cleanup.enter_context(run_folder())
        start: Any = {"mariadb": mariadb, "postgresql": postgresql}[family]
        running = cleanup.enter_context(start(folder, run, **options))
        # over TCP, as who comes through a proxy: an account sees no statements but its own
        url = getattr(running, "tcp_url", running.url)
        server = cls(family, url, family, cleanup)
        kept = {"port": running.port, "_child": running.child, "_folder": folder}
        vars(server).update(kept, _command=_command_of(running.child.pid), _cleanup=cleanup)
        cleanup.callback(server.kill)  # nothing in it is worth an end in good order
        return server

    def url_at(self, port: int, driver: str | None = None) -> URL:
        """Its address through a proxy, for a driver of SQLAlchemy's."""
        url = make_url(self.url).set(port=port)
        return url if driver is None else url.set(drivername=driver)

    @property
    def socket(self) -> str:
        """MariaDB's UNIX socket, through which its root is let in."""
        option = "--socket="
        return next(o.removeprefix(option) for o in self._command if o.startswith(option))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have none of its processes do anything while the block runs."""
        with frozen(*_tree(self._child.pid)):
            yield

    def kill(self) -> None:
        """End all its processes at once, as a crash of the machine does."""
        for process in _tree(self._child.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._child.kill()

    def start(self) -> None:
        """Start it again after `kill`, with the same data, port and password."""
        user = database_user(self._folder / "data", *self._user_names())
        inside = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self._folder)]
        log = self._folder / "again.log"
        child = Child(self.family, [*inside, *self._command], log=log, user=user)
        self._cleanup.callback(child.kill)
        vars(self)["_child"] = child
        child.wait_ready(self.lets_in, START_LIMIT)

    def lets_in(self) -> bool:
        """Whether somebody can log in."""
        try:
            with create_engine(self.url, poolclass=NullPool).connect():
                return True
        except DBAPIError:
            return False

    @contextmanager
    def without_connections(self) -> Iterator[None]:
        """Have others hold all its connections while the block runs."""
        engine = create_engine(self.url, poolclass=NullPool)
        with ExitStack() as held:
            with suppress(DBAPIError):
                while True:
                    held.enter_context(engine.connect())
            yield
        wait_until(self.lets_in)  # it takes a moment to see that they are gone

    def end_connections(self) -> None:
        """End what is left of its connections, with the statements that nobody waits for."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            end_other_connections(connection)

    def connections(self) -> int:
        """How many connections there are beside the one that asks."""
        asked = {
            "mariadb": "SELECT count(*) - 1 FROM information_schema.processlist",
            "postgresql": "SELECT count(*) - 1 FROM pg_stat_activity"
            " WHERE backend_type = 'client backend'",
        }[self.family]
        with create_engine(self.url, poolclass=NullPool).connect() as connection:
            return int(connection.scalar(text(asked)) or 0)

    def runs(self, mark: str) -> int:
        """How many statements run in it whose text has this in it."""
        return sum(mark in statement for statement in self.statements_running())

    def _user_names(self) -> tuple[str, ...]:
        return ("postgres",) if self.family == "postgresql" else ()


def _command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def _tree(root: int) -> list[int]:
    """A process and all below it, the root first, so that it starts no more of them."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                parents[int(folder.name)] = int(state[1])
    found = [root]
    for process in found:  # it grows meanwhile
        found.extend(child for child, parent in parents.items() if parent == process)
    return found
