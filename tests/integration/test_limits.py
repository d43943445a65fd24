"""Bounds and deadlines, with the settings of uwsgi.ini."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stack.native.mariadb import MAX_CONNECTIONS
from stack.native.nginx import CONFIG
from stack.native.uwsgi import INI
from tests.helpers import frozen
from tests.integration.helpers import new_client, threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from stack.native.mariadb import MariaDB
    from stack.native.servers import Site

REQUEST_THREADS = 8
MAX_WORKERS = 24
PROCESSES = 2
THREADS = 40  # of a worker process: what uwsgi.ini promises


def options() -> dict[str, str]:
    """What stands in uwsgi.ini; of an option that stands there twice, the last."""
    pairs = re.findall(r"^([a-z-]+) = (.+)$", INI.read_text(), re.MULTILINE)
    return dict(pairs)


def variables() -> dict[str, str]:
    """What uwsgi.ini sets with `env`."""
    return dict(re.findall(r"^env = ([A-Z_]+)=(.+)$", INI.read_text(), re.MULTILINE))


def placeholders() -> dict[str, int]:
    """The defaults of what STACK_* variables replace."""
    found = re.findall(r"^set-placeholder = ([a-z-]+)=(\d+)$", INI.read_text(), re.MULTILINE)
    return {name: int(value) for name, value in found}


def test_the_sizes_in_uwsgi_ini_fit_each_other_and_the_database() -> None:
    sizes = placeholders()
    workers = int(variables()["COMMONPOOL_MAX_WORKERS"])
    assert (sizes["request-threads"], workers) == (REQUEST_THREADS, MAX_WORKERS)
    assert sizes["worker-processes"] == PROCESSES
    assert (REQUEST_THREADS + MAX_WORKERS) * PROCESSES < MAX_CONNECTIONS


def test_each_time_limit_is_below_the_next() -> None:
    harakiri = float(options()["harakiri"])
    timeouts = (CONFIG / "snippets" / "timeouts.conf").read_text()
    found = re.search(r"^uwsgi_read_timeout (\d+)s;", timeouts, re.MULTILINE)
    assert found
    assert 0.9 * harakiri < harakiri < float(found[1])
    drain = float(variables()["COMMONPOOL_DRAIN_TIMEOUT"])
    assert drain + 1 < float(options()["worker-reload-mercy"])
    assert harakiri + drain + 1 < float(options()["worker-reload-mercy"])


def test_the_queue_for_connections_fits_any_kernel() -> None:
    assert int(options()["listen"]) <= 128
    assert int(options()["listen"]) <= int(Path("/proc/sys/net/core/somaxconn").read_text())


def test_a_deadline_is_a_504_and_the_process_lives_on(make_site: Callable[..., Site]) -> None:
    site = make_site(COMMONPOOL_DEADLINE="0.5")
    before = site.uwsgi.worker_pids()
    with new_client(site.nginx.url) as client:
        answer = client.get("/sleep/sql", params={"seconds": 2, "queries": 4})
        assert answer.status_code == 504
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["status"] == 504
        assert client.get("/healthz").status_code == 200
    assert site.uwsgi.worker_pids() == before


@pytest.mark.parametrize("path", ["/", "/api/dashboard"])
def test_the_dashboard_of_a_database_that_freezes_is_a_504_by_the_deadline_and_a_200_after_it(
    make_site: Callable[..., Site], database: MariaDB, path: str
) -> None:
    site = make_site(COMMONPOOL_DEADLINE="4")
    before = site.uwsgi.worker_pids()
    with new_client(site.nginx.url) as client:
        assert client.get(path).status_code == 200
        with frozen(database.child.pid):
            began = time.monotonic()
            answers = [client.get(path) for _ in range(2)]
            assert time.monotonic() - began < 2 * 10  # a hang, not a measure
        assert [answer.status_code for answer in answers] == [504, 504]
        assert client.get(path).status_code == 200
    assert site.uwsgi.worker_pids() == before


def test_a_setting_from_outside_wins_over_uwsgi_ini(make_site: Callable[..., Site]) -> None:
    site = make_site(COMMONPOOL_MAX_WORKERS="2", STACK_PROCESSES="1", STACK_THREADS="3")
    (pid,) = site.uwsgi.worker_pids()
    with new_client(site.nginx.url) as client:
        answer = client.get("/sleep/sql", params={"seconds": 0.1, "queries": 8}).json()
    names = {task["thread"] for task in answer["tasks"]}
    assert len(names) <= 3  # two workers, and the caller
    assert len(site.uwsgi.stats()["workers"][0]["cores"]) == 3
    assert threads(pid) < 3 + 2 + 8


def test_threads_of_a_process_are_bounded_under_a_burst(make_site: Callable[..., Site]) -> None:
    site = make_site()
    pids = site.uwsgi.worker_pids()
    peak = dict.fromkeys(pids, 0)

    def get(_: int) -> int:
        with new_client(site.nginx.url) as client:
            parameters = {"seconds": 0.2, "queries": 20}
            return client.get("/sleep/sql", params=parameters).status_code

    with ThreadPoolExecutor(32) as clients:
        answers = [clients.submit(get, number) for number in range(48)]
        while not all(answer.done() for answer in answers):
            for pid in pids:
                peak[pid] = max(peak[pid], threads(pid))
    assert {answer.result() for answer in answers} == {200}
    assert site.uwsgi.worker_pids() == pids
    assert all(MAX_WORKERS < count < THREADS for count in peak.values()), peak


def test_healthz_is_503_while_the_database_is_down(
    make_site: Callable[..., Site], empty_database: MariaDB
) -> None:
    site = make_site(empty_database.url)
    with new_client(site.nginx.url) as client:
        assert client.get("/healthz").status_code == 200
        empty_database.child.stop(grace=30)
        assert client.get("/healthz").status_code == 503


@pytest.mark.parametrize("path", ["/", "/api/dashboard"])
def test_a_database_without_the_data_is_a_503_that_says_so(
    make_site: Callable[..., Site], empty_database: MariaDB, path: str
) -> None:
    site = make_site(empty_database.url)
    with new_client(site.nginx.url) as client:
        answer = client.get(path)
    assert answer.status_code == 503
    assert "python -m stack load" in answer.text
