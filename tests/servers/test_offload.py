"""Offloaded calls under every server: other processes run them, and end with their parent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from tests.servers.kinds import GUNICORN_TERM, HUP, KINDS, ONE_OF_EACH, TERM, WAITRESS_INT
from tests.servers.running import Ending, Kind, Running

Start = Callable[..., Running]

WITH_THREADS = [name for name in ONE_OF_EACH if not KINDS[name].has_greenlets]
WITH_GREENLETS = [name for name in ONE_OF_EACH if KINDS[name].has_greenlets]
WITH_A_MASTER = [
    "uwsgi-2.0.30-one-thread",
    "uwsgi-threads",
    "gunicorn-sync",
    "gunicorn-gthread-preload",
]
ENDED: dict[str, tuple[Kind, Ending]] = {
    "uwsgi-2.0.30-one-thread-hup": (KINDS["uwsgi-2.0.30-one-thread"], HUP),
    "uwsgi-threads-term": (KINDS["uwsgi-threads"], TERM),
    "gunicorn-sync-term": (KINDS["gunicorn-sync"], GUNICORN_TERM),
    "gunicorn-gthread-hook-term": (KINDS["gunicorn-gthread-hook"], GUNICORN_TERM),
    "waitress-int": (KINDS["waitress"], WAITRESS_INT),
}


@pytest.mark.parametrize("name", WITH_THREADS)
def test_a_child_of_the_worker_process_runs_the_call_without_the_application(
    start: Start, name: str
) -> None:
    running = start(KINDS[name], PROBE_WARM="1")
    for _ in range(4):
        answer = running.get("/offloaded").json()
        assert len(answer["tasks"]) == 4
        for seen in answer["tasks"]:
            assert seen["parent"] == answer["pid"]
            assert seen["pid"] != answer["pid"]
            assert not seen["has_application"]
            assert tuple(seen["version"]) == sys.version_info[:2]


@pytest.mark.parametrize("name", WITH_GREENLETS)
def test_under_gevent_it_is_refused_in_a_line(start: Start, name: str) -> None:
    running = start(KINDS[name])
    assert "under gevent" in running.get("/offloaded").json()


@pytest.mark.parametrize("name", WITH_A_MASTER)
def test_a_killed_worker_process_leaves_no_child_behind(start: Start, name: str) -> None:
    running = start(KINDS[name], PROBE_WARM="1")
    pid = running.get("/offloaded_never").json()
    (child,) = running.wait_for("offloaded")
    assert child != pid
    os.kill(pid, signal.SIGKILL)
    running.wait_for_end(pid)
    running.wait_for_end(child)
    running.wait_for_workers(but_not={pid})
    assert len(running.get("/offloaded").json()["tasks"]) == 4


@pytest.mark.parametrize(("kind", "ending"), ENDED.values(), ids=ENDED)
def test_a_call_that_never_ends_ends_with_the_drain(
    start: Start, kind: Kind, ending: Ending
) -> None:
    running = start(kind)
    pid = running.get("/offloaded_never").json()
    (child,) = running.wait_for("offloaded")
    running.end(ending, pid)
    running.wait_for_end(child)
    running.wait_for_end(pid)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(KINDS["uwsgi-threads"], HUP), (KINDS["gunicorn-gthread-hook"], GUNICORN_TERM)],
    ids=["uwsgi", "gunicorn"],
)
def test_what_runs_in_the_background_is_drained(start: Start, kind: Kind, ending: Ending) -> None:
    running = start(kind, COMMONPOOL_DRAIN_TIMEOUT="20")
    pid = running.get("/offloaded_in_background").json()
    running.wait_for("offloaded")
    running.end(ending, pid)
    running.open("go")
    running.wait_for("offloaded-go")
    running.wait_for_end(pid)
