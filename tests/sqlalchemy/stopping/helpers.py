"""Statements that do not end by themselves, and tasks that tell what became of them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from commonpool import DeadlineExceeded, run_in_parallel
from tests.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from commonpool import CommonPool
    from tests.sqlalchemy.databases import Database

UNTIL_STOPPED = {
    "mariadb": "/* as no query begins */ SELECT SLEEP(30)",
    "postgresql": "DO $$ BEGIN PERFORM pg_sleep(30); END $$",
    "sqlite": "CREATE TABLE never AS WITH RECURSIVE n(i) AS"
    " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000000) SELECT count(*) FROM n",
}
"""Statements that do not begin as queries, so that no server is given a limit for them."""

DEADLINE = 0.5
"""Seconds that a task has."""


def until_stopped(database: Database) -> Any:
    """A statement that only a stop ends."""
    return text(UNTIL_STOPPED[database.family])


class Seen:
    """What a task that outlived its deadline has met, and when its worker was free again."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.late = 0.0  # seconds from the deadline to the end of the task


def run_past_deadline(
    pool: CommonPool, task: Callable[[], Any], timeout: float = DEADLINE, limit: float = 5.0
) -> Seen:
    """Run a task on a worker for longer than it may, and wait for its end.

    Args:
        pool: the process's.
        task: what to run.
        timeout: the seconds that it has.
        limit: how much later it has to have ended.
    """
    seen, begun, ended = Seen(), threading.Event(), threading.Event()
    began_at = time.monotonic()

    def watched() -> None:
        begun.set()
        try:
            seen.value = task()
        except BaseException as error:
            seen.error = error
            raise
        finally:
            seen.late = time.monotonic() - began_at - timeout
            ended.set()

    with suppress(DeadlineExceeded):
        run_in_parallel([watched], timeout=timeout)
    if not begun.is_set():  # a busy machine: the time was over before it was started
        return run_past_deadline(pool, task, timeout * 2, limit)
    assert ended.wait(limit), "its worker is still held up"
    wait_until(lambda: pool.stats().abandoned == 0)
    return seen


def stopper_threads() -> list[threading.Thread]:
    """The threads that tell servers to stop something."""
    return [thread for thread in threading.enumerate() if thread.name == "commonpool-stopper"]
