"""What sleeps in the database of a stack."""

from __future__ import annotations

from stack.native.waiting import wait_until
from tests.compose.engine import Container, Stack


def wait_for_statements(stack: Stack, number: int) -> None:
    """Wait until so many sleep in the database."""
    wait_until(lambda: _sleeping(stack.container("db")) >= number, limit=30)


def _sleeping(database: Container) -> int:
    counted = database.execute(
        "sh", "-c",
        'mariadb -h 127.0.0.1 -u flights -p"$(cat /run/secrets/db/password)" -N -B -e '
        "\"SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%sleep(%' "
        'AND id != connection_id()"',
    )  # fmt: skip
    return int(counted)
