"""wrk, as the comparison uses it: what counts, and from when."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

import pytest

from stack.compare.load import at_rate, closed, read
from stack.compare.serving import PeerError
from stack.native.errors import NativeError

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


class Slow(BaseHTTPRequestHandler):
    """Answers /SECONDS after so many, one request at a time for all clients."""

    protocol_version = "HTTP/1.1"
    turn = threading.Lock()

    def do_GET(self) -> None:
        with Slow.turn:
            time.sleep(float(self.path.strip("/") or 0))
        wrong = self.path == "/0"
        with suppress(ConnectionError):  # wrk leaves without waiting for what it sent last
            self.send_response(500 if wrong else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = False  # and so server_close() waits for those that still answer
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@needs_wrk
def test_a_closed_loop_counts_what_is_answered_in_its_time(address):
    done = closed(f"{address}/0.1", 4, 2)
    assert 10 < done.answered <= 20  # one at a time: 10 a second
    assert done.rate == done.answered / 2
    assert done.failures == 0


@needs_wrk
def test_answers_that_are_not_200_are_failures(address):
    done = closed(f"{address}/0", 1, 0.5)
    assert done.answered == 0
    assert done.failures == 1


@needs_wrk
def test_a_latency_counts_from_when_the_request_should_have_been_sent(address):
    # 20 a second for a server that can 10: each of the 40 is later than the one before it. Counted
    # from when they were sent, with four connections, none would take longer than about 0.4 s.
    done = at_rate(f"{address}/0.1", 20, 4, 2)
    assert 38 <= len(done.latencies) <= 42
    assert median(done.latencies) > 0.6
    assert max(done.latencies) > 1


@needs_wrk
def test_a_server_that_keeps_up_has_the_latencies_of_its_answers(address):
    done = at_rate(f"{address}/0.02", 10, 4, 2)
    assert 18 <= len(done.latencies) <= 22
    assert 0.02 <= median(done.latencies) < 0.2


def test_what_wrk_could_not_do_is_one_line():
    with pytest.raises(PeerError, match="wrk failed: unable to connect"):
        read("", "unable to connect to 127.0.0.1:1 Connection refused\n", 1)
    with pytest.raises(PeerError, match="3 connections broke"):
        read('{"answered": 1, "failed": 0, "late": 0, "broken": 3, "latencies": []}', "", 1)
    with pytest.raises(PeerError, match="no request was answered in 1 s"):
        read('{"answered": 0, "failed": 0, "late": 0, "broken": 0, "latencies": []}', "", 1)


def test_without_wrk_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("stack.native.programs.shutil.which", lambda *_, **__: None)
    with pytest.raises(NativeError, match="wrk is not installed: install wrk"):
        closed("http://127.0.0.1:1/", 1, 1)
