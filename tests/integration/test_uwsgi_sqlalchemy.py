"""uWSGI forks an application that has used its database: no process uses another's connection."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine

from tests.integration.helpers import Probe, probe_of
from tests.sqlalchemy import models
from tests.sqlalchemy.models import ITEMS, ORDERS, ROWS, USERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stack.native.mariadb import MariaDB

REQUESTS, CLIENTS = 100, 8

OF_USER = Counter(row["user_id"] for row in ROWS["orders"])


@pytest.fixture
def probe(empty_database: MariaDB, tmp_path: Path) -> Iterator[Callable[..., Probe]]:
    """Starts the probe with variables; its master loads it, then forks two processes."""
    engine = create_engine(empty_database.url)
    with engine.begin() as connection:
        models.create(connection)
    engine.dispose()
    with ExitStack() as stack:

        def run(**variables: str) -> Probe:
            return stack.enter_context(
                probe_of(
                    "tests.integration.sqlalchemy_probe_app:application",
                    tmp_path,
                    DATABASE_URL=empty_database.url,
                    **variables,
                )
            )

        yield run


@pytest.mark.parametrize(
    ("options", "warm"),
    [("{}", ""), ("{}", "1"), ('{"pool_pre_ping": true}', ""), ('{"pool_recycle": 0}', "")],
    ids=["asked", "asked_in_parallel", "tried_before_use", "replaced_before_use"],
)
def test_two_processes_forked_from_a_master_that_asked_answer_right_on_their_own_connections(
    probe: Callable[..., Probe], options: str, warm: str
) -> None:
    running = probe(PROBE_OPTIONS=options, PROBE_FAN_OUT=warm)
    workers = set(running.server.worker_pids())

    def ask(number: int) -> dict[str, Any]:
        if number % 2:
            user = number % USERS + 1
            answer = running.get(f"/plain/{user}")
            assert answer["user"] == [f"User {user:02}", OF_USER[user]]
            assert answer["numbers"] == [user]
        else:
            answer = running.get(f"/parallel/{number}")
            assert answer["numbers"] == [number, -number]
            assert answer["items"] == ITEMS
            assert answer["orders"] == list(range(1, ORDERS + 1))
        return answer

    # each process first has a session of its own used, before there is any fan-out
    with ThreadPoolExecutor(CLIENTS) as clients:
        all_answers = list(clients.map(ask, range(1, 2 * CLIENTS, 2)))
        all_answers += clients.map(ask, range(REQUESTS))
    used: dict[int, set[int]] = defaultdict(set)
    for answer in all_answers:
        used[answer["pid"]].update(answer["used"])
        assert answer["loaders"]["pid"] not in workers
    assert set(used) == workers
    one, two = used.values()
    inherited = set(all_answers[0]["loaders"]["used"])
    assert len(inherited) >= 5
    assert one
    assert two
    assert not one & two
    assert not (one | two) & inherited
