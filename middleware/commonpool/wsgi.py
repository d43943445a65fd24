"""CommonPoolMiddleware: gives every request its executor, and ends it with the response."""

from __future__ import annotations

import io
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from commonpool.config import PoolConfig
from commonpool.errors import CommonPoolError, DeadlineExceeded, PoolSaturated
from commonpool.owner import OwnerExecutor, current
from commonpool.process import configure, current_pool

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

log = logging.getLogger("commonpool")

ENVIRON_KEY = "commonpool.executor"


class CommonPoolMiddleware:
    """Hands the process's pool to a WSGI application, through ``environ``.

    Guarantees:
        ``environ["commonpool.executor"]`` is an `OwnerExecutor` of this request.
        Inside the application, and inside each step of its response, `current_executor()` is it.
        It ends when the response is closed, is exhausted or fails, whichever comes first.
        `PoolSaturated` and `DeadlineExceeded` that leave the application before anything was sent
        become ``503`` and ``504``.
        An application that does not use it costs no thread.

    Args:
        app: any WSGI application.
        config: for the process's pool; `None` for the pool that there is, or what the
            ``COMMONPOOL_*`` variables say.

    Raises:
        ConfigError: see `commonpool.process.configure`.
        TypeError: `app` cannot be called.
    """

    def __init__(self, app: WSGIApplication, config: PoolConfig | None = None) -> None:
        if not callable(app):
            raise TypeError(f"app must be a WSGI application, not {app!r:.60}")
        configure(config)
        self.app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        outer = environ.get(ENVIRON_KEY)
        if outer is not None and not outer.ended:  # wrapped twice: the request has its executor
            return self.app(environ, start_response)
        seconds = current_pool().request_seconds
        executor = OwnerExecutor(math.inf if seconds == math.inf else time.monotonic() + seconds)
        environ[ENVIRON_KEY] = executor
        response = Response(start_response, executor, environ)
        token = current.set(executor)
        try:
            body = self.app(environ, response.start)
        except (PoolSaturated, DeadlineExceeded) as error:
            executor.end()
            return [response.refuse(error)]
        except BaseException:
            executor.end()
            raise
        finally:
            current.reset(token)
        if passes_through(body, environ):
            executor.end()
            try:
                response.tell_server()
            except BaseException:
                close(body)
                raise
            return body
        response.body = body
        return response


def passes_through(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether a response runs none of the application's code any more.

    Servers look for their file wrapper and send its file without reading it (uWSGI's returns the
    file itself), so those have to reach them as they are.
    """
    if is_inert(type(body)):
        return True
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def close(body: Iterable[bytes]) -> None:
    """Call a response's `close`, if it has one."""
    method: Any = getattr(body, "close", None)
    if method is not None:
        method()


@lru_cache(maxsize=256)
def is_inert(kind: type) -> bool:
    """Whether a response of this type is data alone: a list, or one of Python's own files."""
    return kind in (list, tuple) or (issubclass(kind, io.IOBase) and kind.__module__ == "_io")


class Response:
    """The response to one request: how it starts, and then each step of its body.

    Guarantees:
        What the application starts reaches the server with the first of the body. Until then
        nothing was sent, and it can still become another response.
        Each step of the body runs as its request.

    (The server's own way to another response, `exc_info`, does not work under uWSGI, which lets
    nobody start twice.)

    Attributes:
        body: what the application returned.
    """

    __slots__ = (
        "_chunks",
        "_environ",
        "_executor",
        "_has_sent",
        "_headers",
        "_is_pending",
        "_start_response",
        "_status",
        "_write",
        "body",
    )

    body: Iterable[bytes]
    _headers: list[tuple[str, str]]

    # One object with slots, as there is one for every request: two, with what they had to say to
    # each other, took a tenth longer.
    def __init__(
        self, start_response: StartResponse, executor: OwnerExecutor, environ: WSGIEnvironment
    ) -> None:
        self._start_response = start_response
        self._executor = executor
        self._environ = environ
        self._status: str | None = None
        self._is_pending = False
        self._write: Callable[[bytes], object] | None = None
        self._has_sent = False
        self._chunks: Iterator[bytes] | None = None

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        """Start the response, or another one in its place: `start_response` (PEP 3333)."""
        try:
            if exc_info is not None and exc_info[1] is not None and self._has_sent:
                raise exc_info[1].with_traceback(exc_info[2])
            if exc_info is None and self._status is not None:
                raise AssertionError(
                    "start_response was called before; pass exc_info to replace it"
                )
            if self._write is not None:  # the server knows of the one that is to be replaced
                self._write = self._start_response(status, headers, exc_info)
            else:
                self._is_pending = True
            self._status, self._headers = status, headers
            return self.write
        finally:
            exc_info = None  # as PEP 3333 asks: its traceback leads to this frame

    def tell_server(self) -> None:
        """Start it, if the application has and the server was not told yet."""
        if self._is_pending and self._status is not None:
            self._is_pending = False
            self._write = self._start_response(self._status, self._headers)

    def write(self, data: bytes) -> object:
        """Send something before the body: the way of old applications."""
        self.tell_server()
        self._has_sent = True
        assert self._write is not None  # noqa: S101 - who has this method has started
        return self._write(data)

    def refuse(self, error: PoolSaturated | DeadlineExceeded) -> bytes:
        """Start the response that tells of an error, and return its body (none for HEAD).

        Raises:
            PoolSaturated, DeadlineExceeded: that error, if anything was sent already.
        """
        if self._has_sent:
            raise error
        status, headers, text = refusal(error)
        body = text.encode()
        self.start(
            status,
            [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                *headers,
            ],
            sys.exc_info(),
        )
        self.tell_server()
        log.warning("%s: %s", status, error)
        return b"" if self._environ.get("REQUEST_METHOD") == "HEAD" else body

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = current.set(self._executor)
        try:
            chunks = self._chunks
            if chunks is None:
                chunks = self._chunks = iter(self.body)
            chunk = next(chunks)
        except (PoolSaturated, DeadlineExceeded) as error:
            self._executor.end()
            self._chunks = iter(())
            return self.refuse(error)
        except StopIteration:
            self._executor.end()
            self.tell_server()
            raise
        except BaseException:
            self._executor.end()
            raise
        finally:
            current.reset(token)
        if not self._has_sent:
            self.tell_server()
            self._has_sent = bool(chunk)
        return chunk

    def close(self) -> None:
        """Close the application's response; then the request is over."""
        token = current.set(self._executor)
        try:
            close(self.body)
        finally:
            current.reset(token)
            self._executor.end()


def refusal(error: CommonPoolError) -> tuple[str, list[tuple[str, str]], str]:
    """How a client is told of an error: status line, headers, and a line of text."""
    if isinstance(error, PoolSaturated):
        seconds = error.retry_after
        return (
            "503 Service Unavailable",
            [("Retry-After", str(seconds))],
            f"The server is busy. Please try again in {seconds} s.\n",
        )
    return "504 Gateway Timeout", [], "The server could not answer in time.\n"
