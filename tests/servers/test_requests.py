"""What a request gets, on every server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stack.native.ports import HOST
from stack.native.waiting import wait_until
from tests.servers.kinds import KINDS, ONE_OF_EACH
from tests.servers.running import Kind, Running

in_every_configuration = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
on_every_server = pytest.mark.parametrize(
    "kind", [KINDS[name] for name in ONE_OF_EACH], ids=ONE_OF_EACH
)
Start = Callable[..., Running]


def send(running: Running, path: str) -> socket.socket:
    """A request whose answer nobody has read yet."""
    connection = socket.create_connection((HOST, running.port), timeout=30)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n".encode())
    return connection


@in_every_configuration
def test_a_pool_used_while_loading_serves_the_first_task_of_every_process(
    start: Start, kind: Kind
) -> None:
    running = start(kind, PROBE_WARM="1", COMMONPOOL_MAX_WORKERS="32")
    workers = running.worker_pids()
    answered = set()
    with ThreadPoolExecutor(8) as clients:

        def all_answered() -> bool:
            for response in clients.map(running.get, ["/parallel"] * 8):
                answer = response.json()
                assert {pid for pid, _ in answer["tasks"]} == {answer["pid"]}
                assert len({thread for _, thread in answer["tasks"]}) == 4
                answered.add(answer["pid"])
            return answered == workers

        wait_until(all_answered, 30, what=f"answers from {workers}")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=name) for name, kind in KINDS.items() if not kind.has_greenlets]
)
def test_an_event_loop_used_while_loading_leaves_one_to_every_process(
    start: Start, kind: Kind
) -> None:
    running = start(kind, PROBE_WARM="1")
    workers = running.worker_pids()
    answered = set()
    with ThreadPoolExecutor(8) as clients:

        def all_answered() -> bool:
            for response in clients.map(running.get, ["/coroutines"] * 8):
                answer = response.json()
                assert answer["tasks"] == [answer["pid"]] * 4
                answered.add(answer["pid"])
            return answered == workers

        wait_until(all_answered, 30, what=f"answers from {workers}")


@on_every_server
def test_a_request_past_its_deadline_is_answered_with_504(start: Start, kind: Kind) -> None:
    running = start(kind, COMMONPOOL_DEADLINE="0.3")
    response = running.get("/late")
    assert response.status_code == 504
    assert response.headers["content-type"].startswith("text/plain")
    assert "Traceback" not in response.text


@on_every_server
def test_the_end_of_an_answer_cancels_what_was_not_started(start: Start, kind: Kind) -> None:
    running = start(kind)
    assert len(running.get("/short_stream").content) == 3 * 65536
    running.wait_for("closed")
    running.wait_for("forgotten-cancelled", 3)
    running.open("release")
    running.wait_for("through-release", 3)
    assert running.pids("forgotten-ran") == []


@on_every_server
def test_an_answer_that_nobody_reads_to_its_end_is_closed_and_cancels_what_was_not_started(
    start: Start, kind: Kind
) -> None:
    running = start(kind)
    with send(running, "/endless_stream") as connection:
        assert connection.recv(4096)
    running.wait_for("closed")
    running.wait_for("forgotten-cancelled", 3)
    running.open("release")
    running.wait_for("through-release", 3)
    assert running.pids("forgotten-ran") == []


@on_every_server
def test_a_client_that_goes_away_leaves_the_pool_whole(start: Start, kind: Kind) -> None:
    running = start(kind)
    before = running.worker_pids()
    with send(running, "/held_in_tasks"):
        (pid,) = running.wait_for("arrived")
    running.open("go")
    assert running.wait_for("finished") == [pid]
    assert running.worker_pids() == before
    with ThreadPoolExecutor(8) as clients:

        def whole() -> bool:
            answers = [answer.json() for answer in clients.map(running.get, ["/stats"] * 8)]
            mine = [numbers for numbers in answers if numbers["pid"] == pid]
            return bool(mine) and all(
                (numbers["busy"], numbers["queued"], numbers["abandoned"]) == (0, 0, 0)
                for numbers in mine
            )

        wait_until(whole, 30, what="an idle pool")
    answer = running.get("/parallel").json()
    assert len(answer["tasks"]) == 4
