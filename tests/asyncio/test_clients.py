"""What coroutines are for: clients that live as long as the process, and keep their connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from commonpool import run_in_parallel


class Site(ThreadingHTTPServer):
    """A server that counts the connections to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.connections = 0

    def process_request(self, *args: object) -> None:
        self.connections += 1
        super().process_request(*args)  # type: ignore[arg-type]


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


def test_a_client_keeps_its_connections_from_request_to_request(make_pool, site):
    make_pool(max_workers=1)
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{site.server_port}")

    def view() -> list[int]:
        """What is done for a request."""
        responses = run_in_parallel([client.get("/a"), client.get("/b")])
        return [response.status_code for response in responses]

    threads = [threading.Thread(target=lambda: seen.extend(view())) for _ in range(10)]
    seen: list[int] = []
    for thread in threads:  # one request after another, each on a thread of its own
        thread.start()
        thread.join()
    run_in_parallel([client.aclose])
    assert seen == [200] * 20
    assert site.connections <= 2
