"""What is lost, and what is not, when a process gets no time to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import httpx
import pytest

from tests.servers.kinds import GUNICORN_TERM, HUP, KINDS, TERM, UWSGI, Gunicorn
from tests.servers.running import Ending, Kind, Running

Start = Callable[..., Running]

WITH_A_MASTER = [
    "uwsgi-2.0.30-one-thread",
    "uwsgi-threads",
    "gunicorn-sync",
    "gunicorn-gthread-preload",
]


@pytest.mark.parametrize("kind", [KINDS[name] for name in WITH_A_MASTER], ids=WITH_A_MASTER)
def test_a_killed_worker_process_is_replaced_and_only_its_own_work_is_gone(
    start: Start, kind: Kind
) -> None:
    running = start(kind, PROBE_WARM="1")
    before = running.worker_pids()
    with running.get_meanwhile("/in_flight") as answer:
        (pid,) = running.wait_for("arrived")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            answer()
    running.wait_for_end(pid)
    after = running.wait_for_workers(but_not={pid})
    assert before & after == before - {pid}
    for _ in range(8):
        assert running.get("/parallel").json()["pid"] in after


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (UWSGI(options={"worker_reload_mercy": "2"}), HUP),
        (Gunicorn("sync", hook=True, arguments=("--graceful-timeout", "2")), GUNICORN_TERM),
    ],
    ids=["uwsgi", "gunicorn"],
)
def test_a_drain_that_takes_longer_than_the_patience_of_the_server_is_cut_short(
    start: Start, kind: Kind, ending: Ending
) -> None:
    running = start(kind, COMMONPOOL_DRAIN_TIMEOUT="60")
    pid = running.get("/never").json()
    running.end(ending, pid)
    running.wait_for_end(pid)
    assert "left behind" not in running.log


def test_uwsgi_waits_without_limit_for_processes_that_sigterm_ends(start: Start) -> None:
    kind = UWSGI(options={"worker_reload_mercy": "1"})
    running = start(kind, COMMONPOOL_DRAIN_TIMEOUT="5")
    pid = running.get("/never").json()
    running.end(TERM, pid)
    running.wait_for_end(running.child.pid)
    running.wait_for_log(r"left behind after 5\.\d s")


@pytest.mark.parametrize("name", ["waitress", "flask-run"])
def test_sigterm_ends_at_once_what_does_not_handle_it(start: Start, name: str) -> None:
    running = start(KINDS[name])
    with running.get_meanwhile("/in_flight") as answer:
        (pid,) = running.wait_for("arrived")
        running.child.send(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            answer()
    running.wait_for_end(pid)
    assert running.pids("through-go") == []
