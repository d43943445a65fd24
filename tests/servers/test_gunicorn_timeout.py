"""gunicorn's `timeout`, which for sync workers is a limit for a request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import httpx

from tests.servers.kinds import Gunicorn
from tests.servers.running import Running

Start = Callable[..., Running]


def sync(*arguments: str) -> Gunicorn:
    """gunicorn with sync workers."""
    return Gunicorn("sync", hook=True, arguments=arguments)


def test_a_request_over_the_timeout_takes_its_process_along(start: Start) -> None:
    running = start(sync("--timeout", "2"))
    with running.get_meanwhile("/held_in_tasks") as answer:
        (pid,) = running.wait_for("arrived")
        with suppress(httpx.TransportError):
            assert answer().status_code == 500
    running.wait_for_end(pid)
    running.wait_for_log("left behind after .* running: .*held_in_tasks")
    running.wait_for_workers(but_not={pid})
    assert running.pids("finished") == []
    assert running.get("/parallel").status_code == 200


def test_a_deadline_below_the_timeout_comes_first(start: Start) -> None:
    running = start(sync("--timeout", "10", "--env", "COMMONPOOL_DEADLINE=0.5"))
    before = running.worker_pids()
    assert running.get("/late").status_code == 504
    assert running.worker_pids() == before
