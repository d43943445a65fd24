"""Where gevent was not told to patch, or patches too late, that is one clear line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.kinds import LATE, UWSGI
from tests.servers.running import Running

Start = Callable[..., Running]


@pytest.mark.parametrize("lazy", [None, "true"], ids=["in_the_master", "lazy"])
def test_uwsgi_with_gevent_and_nothing_patched_is_one_line_for_each_process(
    start: Start, lazy: str | None
) -> None:
    running = start(UWSGI("2.0.30", {"gevent": "20", "lazy_apps": lazy, "processes": "1"}))
    for _ in range(3):
        assert len(running.get("/parallel").json()["tasks"]) == 4
    lines = [line for line in running.log.splitlines() if "is not patched" in line]
    assert len(lines) == 1
    assert "Set 'gevent-early-monkey-patch = true'" in lines[0]


def test_a_pool_used_in_the_process_that_is_patched_later_is_one_line(start: Start) -> None:
    kind = UWSGI("2.0.30", {**LATE, "lazy_apps": "true", "processes": "1"})
    running = start(kind, PROBE_WARM="1", COMMONPOOL_MAX_WORKERS="32")
    for _ in range(3):
        assert len(running.get("/parallel").json()["tasks"]) == 4
    lines = [line for line in running.log.splitlines() if "after this pool was made" in line]
    assert len(lines) == 1


@pytest.mark.parametrize("patch", ["early", "late"])
def test_greenlets_of_a_process_are_served_side_by_side(start: Start, patch: str) -> None:
    option = {"early": "gevent_early_monkey_patch", "late": "gevent_monkey_patch"}[patch]
    kind = UWSGI("2.0.30", {"gevent": "20", option: "true", "processes": "1"})
    running = start(kind, COMMONPOOL_MAX_WORKERS="32")
    with (
        running.get_meanwhile("/held_in_tasks") as first,
        running.get_meanwhile("/held_in_tasks") as second,
    ):
        (pid, _) = running.wait_for("arrived", 2)
        assert running.get("/parallel").json()["pid"] == pid
        running.open("go")
        assert (first().status_code, second().status_code) == (200, 200)
