"""What the stack's sizes add up to, and whether the database has room for it."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from commonpool import PoolConfig
from commonpool.doctor.facts import RESERVE
from stack.app.database import probe_engine
from stack.app.settings import Settings, whole
from stack.data.errors import database_message, error_number

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECT_SECONDS = 5
_REFUSALS = {1044, 1045, 1049}  # no right to the database, a wrong password, no such database


class SizesError(ValueError):
    """The sizes cannot work together. The message is one line: the sum, and what to change."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is set, for one replica and for all of them.

    Attributes:
        settings: the application's.
        workers: of the pool, in each worker process.
        processes: uWSGI's worker processes in each replica.
        threads: request threads in each worker process.
        replicas: containers like this one.
    """

    settings: Settings
    workers: int
    processes: int
    threads: int
    replicas: int

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the sizes that ``values``, such as ``os.environ``, hold.

        There are at least as many replicas as are found now under ``STACK_SERVICE``, the name of
        the service: `docker compose up --scale` tells nobody.

        Raises:
            SettingsError: a setting of the stack is wrong.
            commonpool.ConfigError: a setting of the pool is wrong.
        """
        named = whole(values, "STACK_REPLICAS", default=1, least=1, most=1_000)
        return cls(
            settings=Settings.from_mapping(values),
            workers=PoolConfig.from_settings(values).max_workers,
            processes=whole(values, "STACK_PROCESSES", default=2, least=1, most=1_000),
            threads=whole(values, "STACK_THREADS", default=8, least=1, most=1_000),
            replicas=max(named, _addresses(str(values.get("STACK_SERVICE", "")))),
        )

    @property
    def connections_of_a_process(self) -> int:
        """The engine's, and the one over which statements are stopped."""
        return self.settings.pool_size + self.settings.max_overflow + 1

    @property
    def connections(self) -> int:
        """Of all processes of all replicas, at most."""
        return self.replicas * self.processes * self.connections_of_a_process

    def __str__(self) -> str:
        return (
            f"{_number(self.replicas, 'replica')} x {_number(self.processes, 'process')} x "
            f"({self.settings.pool_size} + {self.settings.max_overflow} + 1) connections = "
            f"{self.connections}; {_number(self.threads, 'request thread')} and "
            f"{_number(self.workers, 'worker')} in each process"
        )


def check(sizes: Sizes) -> None:
    """Ask the database how many connections it takes, and compare.

    `RESERVE` of them are for others: whoever looks after it, /healthz of each process, the loader.
    MariaDB itself keeps one more for an administrator.

    A database that does not answer is said on standard error, and no reason not to start: it may
    be restarting, and /healthz tells when it is back.

    Raises:
        SizesError: it takes fewer than the sizes add up to and `RESERVE`; or it refuses the user,
            the password or the database's name.
    """
    if sizes.settings.database_url.get_backend_name() == "sqlite":
        return
    engine = probe_engine(sizes.settings.database_url, seconds=_CONNECT_SECONDS)
    try:
        with engine.connect() as connection:
            most = int(connection.execute(text("SELECT @@max_connections")).scalar_one())
    except DBAPIError as error:
        if error_number(error) in _REFUSALS:
            raise SizesError(
                f"the database refuses it: {database_message(error)}; see DATABASE_URL and "
                "DATABASE_PASSWORD_FILE"
            ) from None
        sys.stderr.write(
            f"stack: the database does not answer: {database_message(error)}; "
            "its max_connections could not be looked at\n"
        )
        return
    if sizes.connections + RESERVE > most:
        raise SizesError(
            f"{sizes}. MariaDB takes {most} (max_connections), {RESERVE} of which are for others: "
            f"set MARIADB_MAX_CONNECTIONS to {sizes.connections + RESERVE} or more, or lower "
            "STACK_PROCESSES, STACK_POOL_SIZE, STACK_MAX_OVERFLOW or the replicas"
        )


def _addresses(name: str) -> int:
    """How many IPv4 addresses ``name`` has now: Docker's DNS has one for each replica."""
    if not name:
        return 0
    try:
        found = socket.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return 0
    return len({address[4][0] for address in found})


def _number(count: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"
