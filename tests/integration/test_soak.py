"""The soak in its short form: the same requests, reloads and checks, in half a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stack.soak.soak import soak_at

if TYPE_CHECKING:
    from pathlib import Path

    from stack.native.mariadb import MariaDB

SECONDS = 20

TASKS = 20_000
"""A tenth of what two idle cores do in that time."""

GROWTH = 0.4
"""How much memory may grow, as a share. A process has lived for some seconds when it is first
looked at, and still fills its caches (of compiled statements, of the allocator's arenas for each
thread): 10 % was seen. A leak of 1 KiB a task would be five times as much as is allowed here."""


@pytest.mark.timeout(240)
def test_nothing_is_left_over_after_failures_timeouts_and_reloads(
    empty_database: MariaDB, tmp_path: Path
) -> None:
    run, faults = soak_at(
        empty_database.url, tmp_path, seconds=SECONDS, tasks=TASKS, seed=1, growth=GROWTH
    )
    assert faults == []
    assert run.reloads.sighup
    assert run.reloads.chain
    assert set(run.clients.kinds) >= {"Hurried", "Background", "Unread", "Failing", "SlowStatement"}
