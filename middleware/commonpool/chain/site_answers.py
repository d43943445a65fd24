"""What a running site answers to one request, and whether a debugger answers there, too."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
import time
from urllib.parse import SplitResult, unquote, urlsplit

from commonpool.chain.hiding import without_password
from commonpool.chain.model import Site
from commonpool.chain.text_files import NotReadError

SECONDS = 10.0
"""How long a site has for its answer."""

_MOST_BYTES = 1024 * 1024
_DEBUGGER = "__debugger__=yes&cmd=resource&f=style.css"
"""Werkzeug's debugger answers this with a file of its own, on any path."""
_OK = 200


def read_site(url: str, seconds: float = SECONDS) -> Site:
    """Ask for a page once, and once for a file of Werkzeug's debugger. Redirects are not followed.

    Args:
        url: of the page, by http or https.
        seconds: that each answer may take.

    Raises:
        NotReadError: it is no such URL. (A site that does not answer is a `Site` with an `error`.)
    """
    parts = _parts(url)
    shown = without_password(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    begin = time.monotonic()
    try:
        answer, _ = _get(parts, path, seconds)
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = " ".join(without_password(str(error) or type(error).__name__).split())
        return Site(shown, 0, time.monotonic() - begin, {}, error=words[:300])
    took = time.monotonic() - begin
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Site(shown, answer.status, took, headers, debugger=_has_debugger(parts, seconds))


def _parts(url: str) -> SplitResult:
    message = "is no URL of a site, such as https://example.org/"
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_one = False
    if not is_one or any(character.isspace() or ord(character) < 32 for character in url):  # noqa: PLR2004
        raise NotReadError("site", without_password(url)[:200], 0, message)
    return parts


def _has_debugger(parts: SplitResult, seconds: float) -> bool:
    try:
        answer, body = _get(parts, f"{parts.path or '/'}?{_DEBUGGER}", seconds)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    kind = answer.getheader("content-type") or ""
    return answer.status == _OK and kind.startswith("text/css") and b"debugger" in body


def _get(parts: SplitResult, path: str, seconds: float) -> tuple[http.client.HTTPResponse, bytes]:
    """One request, which is broken off when its time is over."""
    assert parts.hostname is not None  # noqa: S101 - `_parts` has seen to it
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    headers = {"User-Agent": "commonpool-doctor", "Connection": "close"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    is_over = threading.Event()

    def end() -> None:
        # A server that sends a byte now and then would never be late for a read.
        is_over.set()
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        connection.request("GET", path, headers=headers)
        # With `Connection: close` http.client hands the socket on to the answer.
        sock = connection.sock
        answer = connection.getresponse()
        connection.sock = sock
        body = answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException, ValueError):
        if is_over.is_set():
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
        connection.close()
    if is_over.is_set():
        raise TimeoutError(f"no whole answer within {seconds:g} s")
    return answer, body
