"""Three ways to ask an application behind the middleware, and applications to ask."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, make_server
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from commonpool import CommonPoolMiddleware, OwnerExecutor

KEY = "commonpool.executor"
TEXT = [("Content-Type", "text/plain")]


class Answer:
    """What came out of one request."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.error: BaseException | None = None


def new_environ(method: str = "GET") -> dict[str, Any]:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    return environ


def ask_directly(app: Any, method: str = "GET") -> Answer:
    """A server in a few lines, as PEP 3333 describes it: headers go out with the first byte."""
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None and answer.body:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not answer.status, "started twice"
        answer.status, answer.headers = status, dict(headers)
        return write

    def write(data: bytes) -> None:
        answer.body += data

    try:
        body = app(new_environ(method), start_response)
        try:
            for chunk in body:
                write(chunk)
            assert answer.status, "never started"
        finally:
            if hasattr(body, "close"):
                body.close()
    except AssertionError:
        raise
    except Exception as error:
        answer.error = error
    return answer


def ask_for_real(app: Any, method: str = "GET") -> Answer:
    """wsgiref's own server, with its validator on both sides of the middleware."""
    answer = Answer()

    class Handler(ServerHandler):
        def log_exception(self, exc_info: Any) -> None:
            answer.error = exc_info[1]

    class RequestHandler(WSGIRequestHandler):
        def handle(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            self.parse_request()
            handler = Handler(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
            handler.request_handler = self
            handler.run(self.server.get_app())

        def log_message(self, *_: Any) -> None:
            pass

    with make_server("127.0.0.1", 0, validator(app), handler_class=RequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with socket.create_connection(server.server_address) as client:
            client.sendall(f"{method} / HTTP/1.0\r\n\r\n".encode())
            received = b"".join(iter(lambda: client.recv(65536), b""))
        thread.join()
    if isinstance(answer.error, AssertionError):
        raise answer.error
    head, _, answer.body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    answer.status = lines[0].partition(" ")[2]
    answer.headers = dict(line.split(": ", 1) for line in lines[1:])
    return answer


class Way:
    """A way to put an application behind the middleware, and to send it a request."""

    def __init__(self, name: str) -> None:
        self.validates = name != "directly"
        self.send = ask_for_real if name == "through a real server" else ask_directly

    def wrap(self, app: Any) -> Any:
        if not self.validates:
            return CommonPoolMiddleware(app)
        return validator(CommonPoolMiddleware(validator(app)))

    def ask(self, app: Any, method: str = "GET") -> Answer:
        return self.send(self.wrap(app), method)


class Closing:
    """A response that counts how often it is closed, and may raise at a step."""

    def __init__(self, *steps: bytes | BaseException) -> None:
        self.steps = iter(steps)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        step = next(self.steps)
        if isinstance(step, BaseException):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1


def serving(body: Iterable[bytes]) -> Callable[..., Any]:
    """An application that answers every request with this."""

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return body

    return app


def has_ended(executor: OwnerExecutor) -> bool:
    """Whether the request of this executor is over."""
    return repr(executor) == "<OwnerExecutor ended>"
