"""Machines that give no threads, stop a process for a while, or set their clock back."""

from __future__ import annotations

import ast
import resource
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import commonpool
from stack.native import servers
from tests.helpers import frozen
from tests.integration.helpers import busy_threads, new_client, threads, wait_until
from tests.integration.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stack.native.servers import Site
    from stack.native.uwsgi import UWSGI

LITTLE = 4 << 20  # bytes: for what Python needs, and not for a thread's stack of 8 MiB

STOPPED = 10.0  # seconds


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts nginx and uWSGI with an application without a database, and variables of one's own."""

    @contextmanager
    def start(**environ: str) -> Iterator[Site]:
        environ["STACK_APPLICATION"] = "tests.integration.fan_out_app:application"
        with servers.site(tmp_path, "sqlite://", environ=environ) as running:
            yield running

    return start


# Threads that cannot be started


def address_space(pid: int) -> int:
    """How many bytes of address space a process has taken."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@contextmanager
def no_room_for_threads(pid: int) -> Iterator[None]:
    """Take from a process the room for one more thread, and give it back."""
    _, most = before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid) + LITTLE, most))
    yield
    resource.prlimit(pid, resource.RLIMIT_AS, before)


def is_of_the_pool(name: str) -> bool:
    return name.startswith("commonpool")


@pytest.mark.parametrize("deadline", ["inf", "20"])
def test_without_threads_requests_are_answered_and_with_them_the_pool_has_its_own_again(
    site: Callable[..., Any], deadline: str
) -> None:
    with (
        site(STACK_PROCESSES="1", COMMONPOOL_DEADLINE=deadline) as running,
        new_client(running.nginx.url) as client,
    ):
        (pid,) = running.uwsgi.worker_pids()
        before = threads(pid)
        with no_room_for_threads(pid):
            for _ in range(20):
                answer = client.get("/")
                assert answer.status_code == 200
                (name,) = set(answer.json()["threads"])
                assert not is_of_the_pool(name)
            assert threads(pid) == before
        answer = client.get("/", params={"seconds": 0.2})
        assert any(is_of_the_pool(name) for name in answer.json()["threads"])
        assert threads(pid) > before
        assert running.uwsgi.worker_pids() == [pid]
        log = running.uwsgi.child.log.read_text()
    assert log.count("cannot start a worker") == 1, log


def test_workers_that_there_are_go_on_where_no_more_can_be_started(
    site: Callable[..., Any],
) -> None:
    with (
        site(STACK_PROCESSES="1") as running,
        new_client(running.nginx.url) as client,
    ):
        (pid,) = running.uwsgi.worker_pids()
        names = client.get("/", params={"seconds": 0.2}).json()["threads"]
        workers = {name for name in names if is_of_the_pool(name)}
        assert workers
        before = threads(pid)
        with no_room_for_threads(pid), Load(running.nginx.url, "/?seconds=0.1", 30, 16) as load:
            wait_until(lambda: len(load.answers) >= 30, 60, what="answers")
            again = client.get("/", params={"seconds": 0.2}).json()["threads"]
        assert set(load.statuses()) == {200}, load.statuses()
        assert threads(pid) <= before + 1  # the watcher may have been there or not
        assert {name for name in again if is_of_the_pool(name)} <= workers


# Processes that are stopped


@contextmanager
def frozen_in_a_request(server: UWSGI, pid: int) -> Iterator[None]:
    """A worker process that does nothing while the block runs, and has begun with a request."""
    with ExitStack() as stack:

        def is_in_one() -> bool:
            stack.close()
            if not busy_threads(server, pid):
                return False
            stack.enter_context(frozen(pid))
            return busy_threads(server, pid) > 0  # it may have ended meanwhile

        wait_until(is_in_one, what="a request in the process")
        yield


def test_a_process_that_is_stopped_for_a_while_answers_afterwards_and_is_not_replaced(
    site: Callable[..., Any],
) -> None:
    with site(COMMONPOOL_DEADLINE="2") as running, new_client(running.nginx.url) as client:
        pids = running.uwsgi.worker_pids()
        with Load(running.nginx.url, "/?seconds=0.3", 20, 60) as load:
            with frozen_in_a_request(running.uwsgi, pids[0]):
                answered = len(load.answers)
                time.sleep(STOPPED)
                assert len(load.answers) > answered + 4  # the other process goes on
            goes_on = time.monotonic()
            answered = len(load.answers)
            wait_until(lambda: len(load.answers) > answered + 80, 30, what="answers")
        assert time.monotonic() - goes_on < 30
        assert set(load.statuses()) <= {200, 504}, load.statuses()
        assert max(answer.seconds for answer in load.answers) >= STOPPED - 1
        assert load.statuses()[200] > load.statuses()[504]
        assert running.uwsgi.worker_pids() == pids
        assert client.get("/").status_code == 200


def test_a_request_whose_deadline_passed_while_its_process_was_stopped_is_a_504(
    site: Callable[..., Any],
) -> None:
    settings = {"STACK_PROCESSES": "1", "COMMONPOOL_DEADLINE": "2"}
    with site(**settings) as running, new_client(running.nginx.url) as client:
        (pid,) = running.uwsgi.worker_pids()
        with Load(running.nginx.url, "/?seconds=1.5", rate=1000, most=1) as load:
            wait_until(lambda: busy_threads(running.uwsgi) == 1, what="the request")
            with frozen(pid):
                time.sleep(3)  # that is past its deadline
                assert not load.answers
            wait_until(lambda: load.answers, 10, what="the answer")
        assert load.answers[0].status == 504
        assert client.get("/").status_code == 200
        assert running.uwsgi.worker_pids() == [pid]


# Clocks


def test_a_clock_that_is_set_back_changes_no_deadline_and_no_end(site: Callable[..., Any]) -> None:
    settings = {"STACK_PROCESSES": "1", "COMMONPOOL_DEADLINE": "2", "FAN_OUT_CLOCK": "1"}
    with site(**settings) as running, new_client(running.nginx.url) as client:
        in_time = client.get("/", params={"seconds": 0.2})
        assert in_time.status_code == 200
        assert in_time.json()["clock"] < -3600
        assert len(set(in_time.json()["threads"])) > 1
        late = client.get("/", params={"seconds": 4})
        assert late.status_code == 504
        assert 1.9 < late.elapsed.total_seconds() < 15
        assert client.get("/", params={"seconds": 0.2}).status_code == 200
        began = time.monotonic()
        running.uwsgi.stop()
        assert time.monotonic() - began < 20
        log = running.uwsgi.child.log.read_text()
    assert "504" in log
    assert "Traceback" not in log


WALL_CLOCKS = {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "CLOCK_REALTIME"}


def wall_clocks(source: str) -> list[str]:
    """What of a module reads a clock that can be set: names of `time`, all of `datetime`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "datetime"}:
            found += [alias.name for alias in node.names if alias.name in WALL_CLOCKS]
            found += [alias.name for alias in node.names if node.module == "datetime"]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name == "datetime"]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time":
            found += [ast.unparse(node)] if node.attr in WALL_CLOCKS else []
    return found


def test_the_library_reads_no_clock_that_can_be_set() -> None:
    (folder,) = commonpool.__path__
    modules = list(Path(folder).rglob("*.py"))
    assert len(modules) > 20
    found = {
        str(module.relative_to(folder))
        for module in modules
        if wall_clocks(module.read_text("utf-8"))
    }
    # What only tells the time: a report's date, and uWSGI's own %t.
    assert found == {"tune/report.py", "chain/uwsgi_magic.py"}


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "from time import time",
        "import datetime",
        "import time\nf(time.time)",
    ],
)
def test_such_a_clock_would_be_found(source: str) -> None:
    assert wall_clocks(source)
