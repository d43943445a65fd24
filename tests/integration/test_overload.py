"""More requests than can be answered: the surplus is told so, the others are answered in time."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import create_engine, text

from stack.native import servers
from stack.native.nginx import CONFIG, MOST_REQUESTS
from stack.native.uwsgi import INI
from tests.helpers import is_frozen
from tests.integration.helpers import access_log, new_client, threads, wait_until
from tests.integration.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stack.native.mariadb import MariaDB
    from stack.native.servers import Site

PROCESSES = 2
REQUEST_THREADS = 8
WORKERS = 24
THREADS = 40  # of a worker process: what uwsgi.ini promises
CONNECTIONS = (REQUEST_THREADS + WORKERS + 1) * PROCESSES

# What a request takes at least: so many can be answered in a second at most.
SECONDS = 0.5
PATH = f"/sleep/sql?seconds={SECONDS}&queries=4"
CAPACITY = PROCESSES * REQUEST_THREADS / SECONDS

DEADLINE = 27  # seconds, of a request
ROOM_FOR_HEALTH = 8  # what nginx/snippets/overload.conf leaves


@pytest.fixture
def site(empty_database: MariaDB, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts the stack, with variables of one's own."""

    @contextmanager
    def start(**environ: str) -> Iterator[Site]:
        with servers.site(tmp_path, empty_database.url, environ=environ) as running:
            yield running

    return start


class Watch:
    """What the database and the worker processes had at most."""

    def __init__(self, site: Site, database: MariaDB) -> None:
        self.pids = site.uwsgi.worker_pids()
        self.threads = dict.fromkeys(self.pids, 0)
        self.connections = 0
        self._engine = create_engine(database.url)

    def look(self) -> None:
        for pid in self.pids:
            self.threads[pid] = max(self.threads[pid], threads(pid))
        with self._engine.connect() as connection:
            row = connection.execute(text("SHOW STATUS LIKE 'Threads_connected'")).one()
        self.connections = max(self.connections, int(row[1]) - 1)  # not this one

    def close(self) -> None:
        self._engine.dispose()


def assert_refused(answer: httpx.Response, kind: str) -> None:
    """Assert that an answer says when to come again, and has all that an answer has here."""
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"].split(";")[0] == kind
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert len(answer.headers.get_list("x-request-id")) == 1
    if kind == "application/json":
        assert answer.json()["status"] == 503
        assert set(answer.json()) == {"status", "error", "message"}
    else:
        assert "<h1>Too busy</h1>" in answer.text


def test_the_limit_of_nginx_leaves_room_for_healthz_in_the_queue_of_uwsgi() -> None:
    (listen,) = re.findall(r"^listen = (\d+)$", INI.read_text(), re.MULTILINE)
    assert int(listen) == MOST_REQUESTS + ROOM_FOR_HEALTH
    said = (CONFIG / "snippets" / "overload.conf").read_text()
    assert f"{MOST_REQUESTS} + {ROOM_FOR_HEALTH}" in said


def seconds_of_refusals(log: Path) -> list[float]:
    """How long nginx has taken for each answer of its own. (The clients share its processors.)"""
    lines = access_log(log)
    return [line["seconds"] for line in lines if line["status"] == 503 and not line["upstream"]]


def test_ten_times_as_many_requests_as_can_be_answered(
    site: Callable[..., Site], empty_database: MariaDB
) -> None:
    with site() as running, new_client(running.nginx.url) as client:
        watch = Watch(running, empty_database)

        def has_answered() -> bool:
            watch.look()
            return len(load.with_status(200)) >= 3 * MOST_REQUESTS / 2

        with Load(running.nginx.url, PATH, rate=10 * CAPACITY) as load:
            wait_until(has_answered, 60, what="answers")
            assert client.get("/static/style.css").status_code == 200
            assert client.get("/healthz").status_code == 200
        watch.close()
        assert running.uwsgi.worker_pids() == watch.pids
        again = client.get("/sleep/sql", params={"seconds": 0, "queries": 4})
        assert again.status_code == 200
        assert again.elapsed.total_seconds() < 5

    answered, refused = load.with_status(200), load.with_status(503)
    assert set(load.statuses()) == {200, 503}, load.statuses()
    assert len(refused) > len(answered)
    assert max(answer.seconds for answer in answered) < DEADLINE
    seconds = seconds_of_refusals(running.nginx.access_log)
    assert len(seconds) >= len(refused)
    assert median(seconds) < 0.5  # nought, where nothing else is going on
    assert all(answer.headers and answer.headers["Retry-After"] == "5" for answer in refused)
    assert all(WORKERS < count < THREADS for count in watch.threads.values()), watch.threads
    assert WORKERS < watch.connections <= CONNECTIONS


def test_while_nobody_answers_all_that_was_let_in_waits_and_the_rest_is_refused(
    site: Callable[..., Site],
) -> None:
    with site() as running, new_client(running.nginx.url) as client:
        pids = running.uwsgi.worker_pids()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: all(map(is_frozen, pids)), what="the processes to stop")
            with (
                Load(running.nginx.url, "/sleep/python?seconds=0", 200, MOST_REQUESTS) as load,
                Load(running.nginx.url, "/healthz", 200, ROOM_FOR_HEALTH) as health,
            ):
                wait_until(lambda: load.under_way == MOST_REQUESTS, what="the queue to fill")
                wait_until(lambda: health.under_way == ROOM_FOR_HEALTH, what="the rest to fill")
                wait_until(lambda: is_refused(client), what="the limit")
                assert_refused(client.get("/"), "text/html")
                assert_refused(client.get("/api/dashboard"), "application/json")
                assert_refused(client.get("/sleep/python"), "application/json")
                assert_refused(client.post("/sleep/python"), "application/json")
                assert client.get("/static/style.css").status_code == 200
                assert client.get("/error/html").status_code == 404
                assert not load.answers
                assert not health.answers
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
                wait_until(lambda: len(load.answers) >= MOST_REQUESTS, 60, what="answers")
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert set(load.statuses()) == {200}, load.statuses()
        assert set(health.statuses()) == {200}, health.statuses()
        assert running.uwsgi.worker_pids() == pids


def is_refused(client: httpx.Client) -> bool:
    """Whether a request is refused at once; waits no longer than that takes."""
    try:
        return client.get("/", timeout=1).status_code == 503
    except httpx.TimeoutException:
        return False


def test_a_pool_that_rejects_says_so_too(site: Callable[..., Site]) -> None:
    settings = {
        "COMMONPOOL_OVERFLOW": "reject",
        "COMMONPOOL_MAX_WORKERS": "2",
        "COMMONPOOL_MAX_QUEUE": "2",
        "STACK_PROCESSES": "1",
    }
    path = "/sleep/python?seconds=0.2&queries=4"
    with site(**settings) as running, new_client(running.nginx.url) as client:
        (pid,) = running.uwsgi.worker_pids()
        with Load(running.nginx.url, path, rate=100, most=16) as load:
            wait_until(lambda: len(load.with_status(200)) > 20, 60, what="answers")
            wait_until(lambda: len(load.with_status(503)) > 20, 60, what="refusals")
            assert threads(pid) < REQUEST_THREADS + 2 + 8
        assert client.get(path).status_code == 200
        log = access_log(running.nginx.access_log)
    assert set(load.statuses()) == {200, 503}, load.statuses()
    for answer in load.with_status(503):
        assert answer.headers
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/json"
        assert json.loads(answer.body)["status"] == 503
    assert all(line["upstream"] for line in log)  # none of them was refused by nginx
