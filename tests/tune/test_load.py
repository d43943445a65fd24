"""The load: at its own times, whatever the server does, and honest about itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from commonpool.tune.generator import Generator, own_limit
from commonpool.tune.load import Load, at_rate
from commonpool.tune.unix_peers import peer_names, socket_inodes


@pytest.fixture
def site() -> Iterator[str]:
    """Answers one request at a time, each in 50 ms: 20 a second at most; /no is a 503."""
    one = threading.Lock()
    never = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/quick":
                self.answer(204)
                return
            with one:
                never.wait(0.05)
            self.answer(503 if self.path == "/no" else 302 if self.path == "/moved" else 200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status == 302:
                self.send_header("Location", "/login")
            self.send_header("X-Host", self.headers["Host"])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

    class Server(ThreadingHTTPServer):
        request_queue_size = 200
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def load(url: str, rate: float, seconds: float, patience: float = 20, seed: int = 3) -> Load:
    with Generator("example.org") as generator:
        return generator.at_rate(url, rate=rate, seconds=seconds, patience=patience, seed=seed)


def test_a_request_is_counted_from_when_it_was_due(site: str) -> None:
    # 80 a second on a server for 20: the last ones wait for all before them, which is no less
    # than 4 s x 3/4 of the work of 1 s. A closed loop would have seen 50 ms each.
    got = load(f"{site}/", 80, 1)
    assert not got.failures
    assert len(got.latencies) == got.sent > 50
    assert max(got.latencies) > 0.05 * got.sent - 1.05
    assert sorted(got.latencies) != got.latencies or got.latencies[0] < got.latencies[-1]


def test_below_what_the_server_can_do_there_is_no_queue(site: str) -> None:
    got = load(f"{site}/quick", 50, 1)
    assert not got.failures
    assert sorted(got.latencies)[len(got.latencies) // 2] < 0.5
    assert got.processor_seconds > 0


def test_failures_are_counted_and_never_among_the_latencies(site: str) -> None:
    got = load(f"{site}/no", 10, 1)
    assert got.latencies == []
    assert list(got.failures) == ["503 Service Unavailable"]
    assert sum(got.failures.values()) == got.sent > 0


def test_a_redirection_is_an_answer(site: str) -> None:
    got = load(f"{site}/moved", 10, 0.5)
    assert not got.failures
    assert len(got.latencies) == got.sent


def test_where_a_redirection_leads_is_told(site: str) -> None:
    with Generator("example.org") as generator:
        moved = generator.one_after_another(f"{site}/moved", times=1, patience=9)
        stayed = generator.one_after_another(f"{site}/quick", times=1, patience=9)
    assert (moved.redirect, stayed.redirect) == ("/login", "")
    assert not moved.failures


def test_patience_is_counted_from_when_a_request_was_due(site: str) -> None:
    got = load(f"{site}/", 100, 1, patience=0.3)
    assert set(got.failures) == {"no answer in 0.3 s"}
    assert got.seconds < 10
    assert max(got.latencies) < 0.3 + 1  # the clock of the loop, on a busy machine


def test_where_nobody_listens_all_fail_and_say_so() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    got = load(f"http://127.0.0.1:{port}/", 20, 0.5)
    assert got.latencies == []
    assert next(iter(got.failures)).startswith("no connection: ")


def test_the_same_seed_gives_the_same_times(site: str) -> None:
    with Generator("example.org") as generator:
        sent = [
            generator.at_rate(f"{site}/quick", rate=90, seconds=0.4, patience=9, seed=seed).sent
            for seed in (3, 3, 4, 5)
        ]
    assert sent[0] == sent[1]
    assert len(set(sent)) > 1


def test_a_generator_that_cannot_keep_up_says_so(site: str) -> None:
    assert "late by 500 ms" in own_limit(Load(lag=0.5, processor_seconds=0.1, seconds=1), 0.25)
    assert "used 95% of a processor" in own_limit(Load(processor_seconds=1.9, seconds=2), 0.25)
    assert not own_limit(Load(lag=0.001, processor_seconds=0.2, seconds=1), 0.25)

    async def held_up() -> Load:
        asyncio.get_running_loop().call_later(0.2, threading.Event().wait, 0.6)
        return await at_rate(f"{site}/quick", host="x", rate=100, seconds=1, patience=5, seed=1)

    got = asyncio.run(held_up())  # what was due meanwhile is sent late, and counted from its time
    assert got.lag > 0.3
    assert max(got.latencies) > 0.3


def test_the_path_at_the_other_end_of_a_unix_socket_is_known(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = str(tmp_path_factory.mktemp("s") / "mysqld.sock")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        accepted, _ = server.accept()
        with accepted:
            inode = os.fstat(client.fileno()).st_ino
            assert inode in socket_inodes(os.getpid())
            assert peer_names()[inode] == path
