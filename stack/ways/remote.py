"""Stands in for two APIs of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from stack.ways.waiting import Waits


class Remote(ThreadingHTTPServer):
    """Answers ``/?seconds=S`` after so long, and keeps connections as long as clients do.

    Attributes:
        waits: how many requests it was answering at a time.
        connections: how many were opened to it.
    """

    daemon_threads = True
    request_queue_size = 128  # not 5: many connections may come at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.waits = Waits()
        self.connections = 0

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def process_request(self, *arguments: object) -> None:
        """Count a connection; called on the one thread that accepts them."""
        self.connections += 1
        super().process_request(*arguments)  # type: ignore[arg-type]

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has gone."""


@contextmanager
def remote() -> Iterator[Remote]:
    """APIs for the time of a block."""
    with Remote() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Remote
    protocol_version = "HTTP/1.1"
    # in one packet: the second of two would wait for the first one's acknowledgement, 40 ms
    wbufsize = -1

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        self.server.waits(float(asked.get("seconds", ["0"])[0]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"42")

    def log_message(self, *_: object) -> None:
        """Say nothing."""
