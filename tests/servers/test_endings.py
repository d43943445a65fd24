"""What happens to requests, tasks and background work when a worker process ends in good order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.kinds import ENDINGS
from tests.servers.running import Ending, Kind, Running, alive

Start = Callable[..., Running]

in_every_way = pytest.mark.parametrize(("kind", "ending"), ENDINGS.values(), ids=ENDINGS.keys())


def ends(running: Running, ending: Ending, pid: int) -> None:
    """Wait for the end of a worker process, and see what is there afterwards."""
    running.wait_for_end(pid, traffic=ending.needs_traffic)
    if ending.goes_on:
        running.wait_for_workers(but_not={pid})
        assert running.get("/parallel").json()["pid"] != pid
    else:
        running.wait_for_end(running.child.pid)


@in_every_way
def test_what_was_begun_is_finished_and_what_nobody_waits_for_is_cancelled(
    start: Start, kind: Kind, ending: Ending
) -> None:
    running = start(kind, COMMONPOOL_DRAIN_TIMEOUT="20")
    with running.get_meanwhile("/in_flight") as answer:
        (pid,) = running.wait_for("arrived")
        running.end(ending, pid)
        running.open("go")
        response = answer()
    assert (response.status_code, response.json()) == (200, ["go", "A", "B", "C"])
    running.wait_for("forgotten-cancelled", 3)
    assert alive(pid)
    running.open("release")
    assert running.wait_for("through-release", 3) == [pid] * 3
    assert running.pids("through-go") == [pid]
    ends(running, ending, pid)
    assert running.pids("forgotten-ran") == []
    assert "left behind" not in running.log


@in_every_way
def test_a_task_that_never_returns_is_left_behind_and_named(
    start: Start, kind: Kind, ending: Ending
) -> None:
    running = start(kind)
    pid = running.get("/never").json()
    running.end(ending, pid)
    ends(running, ending, pid)
    running.wait_for_log(r"left behind after 1\.\d s .* running: .*never_returns.*never_returns")
    if not kind.has_greenlets:
        running.wait_for_log(r"never_gives_up \(running for \d\.\d s on the event loop\)")
        assert running.pids("cancelled") == [pid]  # it was told
