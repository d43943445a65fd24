"""A MariaDB primary and its replica, which can be held up, killed and started again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, NullPool, create_engine, text

from tests.faults.servers import Server
from tests.sqlalchemy import models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

PRIMARY, REPLICA = 1, 2
"""What the servers call themselves (``server_id``)."""

_USER, _PASSWORD = "replication", "only reached from this machine"

CATCH_UP_LIMIT = 20  # seconds; usually some milliseconds


class Replication:
    """The two servers; what is committed in the primary is in the replica a moment later.

    Args:
        cleanup: ends them.

    Raises:
        NativeError: MariaDB is not installed, or does not start.
    """

    def __init__(self, cleanup: ExitStack) -> None:
        self.primary = Server.started(
            "mariadb", cleanup, options=(f"--server-id={PRIMARY}", "--log-bin")
        )
        # durable: else what it had would come back only a moment after it was killed and started
        self.replica = Server.started(
            "mariadb", cleanup, durable=True, options=(f"--server-id={REPLICA}", "--read-only=1")
        )
        account = f"'{_USER}'@'127.0.0.1'"
        _as_root(
            self.primary,
            f"CREATE USER {account} IDENTIFIED BY '{_PASSWORD}'",
            f"GRANT REPLICATION SLAVE ON *.* TO {account}",
        )
        _as_root(
            self.replica,
            f"SET GLOBAL gtid_slave_pos = '{self._position()}'",  # users and such are their own
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_CONNECT_RETRY=1, "
            f"MASTER_PORT={self.primary.port}, MASTER_USE_GTID=slave_pos, "
            f"MASTER_USER='{_USER}', MASTER_PASSWORD='{_PASSWORD}'",
            "START SLAVE",
        )
        engine = create_engine(self.primary.url, poolclass=NullPool)
        with engine.begin() as connection:
            models.create(connection)
        self.catch_up()

    def _position(self) -> str:
        return str(_as_root(self.primary, "SELECT @@gtid_binlog_pos"))

    def catch_up(self) -> None:
        """Wait until the replica has all that is committed in the primary."""
        waited = _as_root(
            self.replica, f"SELECT MASTER_GTID_WAIT('{self._position()}', {CATCH_UP_LIMIT})"
        )
        assert waited == 0, f"the replica has not caught up within {CATCH_UP_LIMIT} s"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have the replica stay as it is while the block runs."""
        self.catch_up()
        _as_root(self.replica, "STOP SLAVE SQL_THREAD")
        try:
            yield
        finally:
            _as_root(self.replica, "START SLAVE SQL_THREAD")
            self.catch_up()

    def restore(self) -> None:
        """Make the rows again what they were, in both."""
        for server in (self.primary, self.replica):
            server.end_connections()
        with create_engine(self.primary.url, poolclass=NullPool).begin() as connection:
            models.restore(connection)
        self.catch_up()


def _as_root(server: Server, *statements: str) -> Any:
    """Execute statements that take a privilege; the last one's first value, if it has any."""
    url = URL.create(
        "mysql+mysqldb", "root", host="localhost", query={"unix_socket": server.socket}
    )
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None
