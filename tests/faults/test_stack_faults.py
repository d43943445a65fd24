"""Faults of the database and of clients, as those who use nginx and uWSGI see them.

Every request is answered by its deadline, no worker process is lost to the fault, and the first
requests after the recovery are well.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from commonpool.ext.sqlalchemy.engines import PAUSE
from stack.native import servers
from stack.native.errors import NativeError
from stack.native.ports import HOST
from stack.native.programs import find_program
from tests.faults.proxy import Proxy
from tests.helpers import wait_until
from tests.integration.helpers import busy_threads

if TYPE_CHECKING:
    from stack.native.servers import Site

DEADLINE = 3  # seconds of a request
STATEMENT_SECONDS = 5
CEILING = 20.0  # seconds after which what has such a deadline hangs; less than harakiri

ERRORS = {500, 503, 504}


@pytest.fixture(scope="module")
def server(mariadb_server):
    return mariadb_server


@pytest.fixture(scope="module")
def way(server):
    """The network between the application and its database."""
    with Proxy(server.port) as running:
        yield running


@pytest.fixture(scope="module")
def site(server, way, tmp_path_factory):
    """The stack with its own settings, but for shorter times; no test leaves it other than well."""
    try:
        find_program("nginx")
    except NativeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    environ = {
        "COMMONPOOL_DEADLINE": str(DEADLINE),
        "STACK_STATEMENT_SECONDS": str(STATEMENT_SECONDS),
        "COMMONPOOL_MAX_WORKERS": "4",
        "STACK_THREADS": "3",
    }
    url = server.url_at(way.port).render_as_string(hide_password=False)
    with servers.site(tmp_path_factory.mktemp("site"), url, environ=environ) as running:
        yield running


class Clients:
    """Clients of nginx, each of them with a connection and a thread of its own."""

    def __init__(self, site: Site, threads: ThreadPoolExecutor) -> None:
        self._url = f"{site.nginx.url}/sleep/sql"
        self._threads = threads

    def get(self, seconds: float = 0.06, queries: int = 4, mode: str = "parallel") -> Future[int]:
        """Ask for statements that take so long; the status of the answer, or a hang's error.

        By default they are so long that workers are called for them, on any machine.
        """
        parameters = {"seconds": seconds, "queries": queries, "mode": mode}
        return self._threads.submit(self._get, parameters)

    def _get(self, parameters: dict[str, object]) -> int:
        with httpx.Client(trust_env=False, timeout=CEILING) as client:
            return client.get(self._url, params=parameters).status_code

    def statuses(self, count: int = 4) -> set[int]:
        """What so many requests at once are answered: more than one worker process gets some."""
        return {status.result() for status in [self.get() for _ in range(count)]}


@pytest.fixture
def clients(site):
    with ThreadPoolExecutor(20) as threads:
        made = Clients(site, threads)
        wait_until(lambda: made.statuses() == {200}, limit=60)  # also while processes start
        time.sleep(PAUSE)  # after the last refusal: now workers ask for connections again
        yield made


@pytest.fixture
def same_processes(site):
    """The worker processes are the same at the test's end, with no thread that is busy."""
    wait_until(lambda: len(site.uwsgi.worker_pids()) == 2, limit=60)
    before = site.uwsgi.worker_pids()
    yield
    wait_until(lambda: busy_threads(site.uwsgi) == 0, limit=CEILING)
    assert site.uwsgi.worker_pids() == before


@pytest.fixture
def fault(request, server, way):
    """A block in which the database has this fault."""

    @contextmanager
    def block():
        match request.param:
            case "frozen":
                with server.frozen():
                    yield
            case "black hole":
                way.swallow()
                yield
                way.normal()
            case "killed":
                server.kill()
                yield
                server.start()
            case "refused":
                way.refuse()
                way.reset()
                yield
                way.normal()

    return block


@pytest.mark.usefixtures("same_processes")
@pytest.mark.parametrize("fault", ["frozen", "black hole", "killed", "refused"], indirect=True)
def test_a_fault_of_the_database_is_an_error_by_the_deadline_and_a_200_after_it(
    server, clients, fault
):
    in_the_middle = clients.get(seconds=9)
    wait_until(lambda: server.runs("sleep") == 4)
    with fault():
        assert clients.statuses() <= ERRORS
        assert in_the_middle.result() in ERRORS
        assert clients.statuses() <= ERRORS
    assert clients.statuses() == {200}


@pytest.mark.usefixtures("same_processes")
def test_connections_that_are_reset_are_an_error_for_who_used_them_and_a_200_for_the_next(
    server, way, clients
):
    in_the_middle = clients.get(seconds=9)
    wait_until(lambda: server.runs("sleep") == 4)
    way.reset()
    assert in_the_middle.result() in ERRORS
    assert clients.statuses() == {200}


@pytest.mark.usefixtures("same_processes")
def test_a_database_without_a_connection_left_is_a_503_and_a_200_when_it_has_one(
    server, way, clients
):
    way.refuse()
    way.reset()
    wait_until(lambda: server.connections() == 0)  # what the application had, others shall have
    with server.without_connections():
        way.normal()
        assert clients.statuses() == {503}
    assert clients.statuses() == {200}


def ask(site, *, queries):
    """Send a request for long statements, and return the connection to it."""
    connection = socket.create_connection((HOST, httpx.URL(site.nginx.url).port), CEILING)
    path = f"/sleep/sql?seconds=9&queries={queries}"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    return connection


@pytest.mark.usefixtures("same_processes")
def test_a_client_that_goes_leaves_no_statement_and_no_busy_thread(site, server, clients):
    with ExitStack() as connections:
        # Whichever process they come to has four connections for them: for three, it would not.
        for _ in range(2):
            connections.enter_context(ask(site, queries=2))
        wait_until(lambda: server.runs("sleep") == 4)
    wait_until(lambda: server.runs("sleep") == 0, limit=CEILING)
    wait_until(lambda: busy_threads(site.uwsgi) == 0, limit=CEILING)
    assert clients.statuses() == {200}


def busy_process(site):
    """The process that answers a request now."""
    (pid,) = [
        worker["pid"]
        for worker in site.uwsgi.stats()["workers"]
        if any(core["in_request"] for core in worker["cores"])
    ]
    return pid


def all_answer(site):
    """Whether every process has answered a request since it was started."""
    return all(worker["delta_requests"] for worker in site.uwsgi.stats()["workers"])


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_a_killed_process_is_a_502_and_replaced_and_its_statements_end_by_their_own_limit(
    site, server, clients, mode
):
    answer = clients.get(seconds=10, queries=2, mode=mode)
    running = 2 if mode == "parallel" else 1
    wait_until(lambda: server.runs("sleep") == running)
    killed = busy_process(site)
    os.kill(killed, signal.SIGKILL)
    assert answer.result() == 502
    # by themselves they would take ten seconds
    wait_until(lambda: server.runs("sleep") == 0, limit=STATEMENT_SECONDS + 3)
    wait_until(lambda: clients.statuses() == {200} and all_answer(site), limit=60)
    assert killed not in site.uwsgi.worker_pids()
