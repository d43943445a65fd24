"""The drop-in for Flask-Executor under uWSGI: what is begun outlives its request and a reload."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.helpers import Probe, probe_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


APP = "tests.integration.flask_executor_app:application"


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    with probe_of(APP, tmp_path, PROBE_FOLDER=str(tmp_path)) as probe:
        yield probe


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def done(folder: Path) -> list[tuple[int, int]]:
    """Which tasks are done, and in which process each was."""
    file = folder / "done"
    lines = file.read_text().splitlines() if file.exists() else []
    return sorted((int(number), int(pid)) for number, pid in map(str.split, lines))


def test_what_is_begun_is_finished_before_a_process_is_replaced(
    probe: Probe, tmp_path: Path
) -> None:
    pids = [probe.get(f"/order/{number}")["pid"] for number in range(6)]
    before = set(probe.server.worker_pids())
    probe.server.reload()
    wait_until(lambda: "Gracefully killing worker" in (tmp_path / "uwsgi.log").read_text())
    assert done(tmp_path) == []
    (tmp_path / "gate").touch()
    wait_until(lambda: len(done(tmp_path)) == 6, what="the end of all tasks")
    assert done(tmp_path) == list(enumerate(pids))
    wait_until(lambda: not any(map(is_alive, before)), what="the end of the old processes")
    wait_until(probe.server.worker_pids, what="the new ones")


def test_tasks_find_their_application_and_request(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    assert probe.get("/invoices") == [f"orders {number} /invoices" for number in range(3)]


def test_processes_compute_and_end_with_the_server(tmp_path: Path) -> None:
    # With several threads, processes of Python's own keep uWSGI from ending, whoever starts them.
    with probe_of(APP, tmp_path, threads_each=1, PROBE_FOLDER=str(tmp_path)) as probe:
        answer = probe.get("/squares")
        assert answer["values"] == [0, 1, 4]
        assert len(answer["pids"]) == 1
        assert answer["pids"] != [answer["pid"]]
        before = [*probe.server.worker_pids(), *answer["pids"]]
        probe.server.stop()
        wait_until(lambda: not any(map(is_alive, before)), what="the end of all processes")
