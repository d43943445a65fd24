"""CommonPoolMiddleware: gives every request its executor, and ends it with the response."""

from __future__ import annotations

import io
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from commonpool.config import PoolConfig
from commonpool.errors import CommonPoolError, DeadlineExceeded, PoolSaturated
from commonpool.owner import OwnerExecutor, current
from commonpool.process import configure, request_seconds

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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
        seconds = request_seconds()
        executor = OwnerExecutor(math.inf if seconds == math.inf else time.monotonic() + seconds)
        environ[ENVIRON_KEY] = executor
        token = current.set(executor)
        try:
            body = self.app(environ, start_response)
        except (PoolSaturated, DeadlineExceeded) as error:
            executor.end()
            return [refuse(error, start_response, environ)]
        except BaseException:
            executor.end()
            raise
        finally:
            current.reset(token)
        if passes_through(body, environ):
            executor.end()
            return body
        return Body(body, executor, start_response, environ)


def passes_through(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether a response runs none of the application's code any more.

    Servers look for their file wrapper and send its file without reading it (uWSGI's returns the
    file itself), so those have to reach them as they are.
    """
    if type(body) is list or type(body) is tuple or isinstance(body, io.IOBase):
        return True
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class Body:
    """A response, each step of which runs as its request."""

    __slots__ = ("_body", "_chunks", "_environ", "_executor", "_sent", "_start_response")

    def __init__(
        self,
        body: Iterable[bytes],
        executor: OwnerExecutor,
        start_response: StartResponse,
        environ: WSGIEnvironment,
    ) -> None:
        self._body = body
        self._chunks: Iterator[bytes] | None = None
        self._executor = executor
        self._start_response = start_response
        self._environ = environ
        self._sent = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = current.set(self._executor)
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks)
        except (PoolSaturated, DeadlineExceeded) as error:
            self._executor.end()
            if self._sent:
                raise
            self._chunks = iter(())
            chunk = refuse(error, self._start_response, self._environ)
        except BaseException:  # its end, StopIteration, included
            self._executor.end()
            raise
        finally:
            current.reset(token)
        if chunk:
            self._sent = True
        return chunk

    def close(self) -> None:
        """Close the application's response; then the request is over."""
        token = current.set(self._executor)
        try:
            close: Any = getattr(self._body, "close", None)
            if close is not None:
                close()
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


def refuse(
    error: PoolSaturated | DeadlineExceeded,
    start_response: StartResponse,
    environ: WSGIEnvironment,
) -> bytes:
    """Start the response that tells of an error, and return its body (none for a HEAD request).

    If something was sent already, the server raises the error out of `start_response`: PEP 3333
    has it do so when it is given `exc_info`.
    """
    status, headers, text = refusal(error)
    body = text.encode()
    log.warning("%s: %s", status, error)
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *headers,
        ],
        sys.exc_info(),
    )
    return b"" if environ.get("REQUEST_METHOD") == "HEAD" else body
