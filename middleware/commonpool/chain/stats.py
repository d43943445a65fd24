"""What a running uWSGI says of itself on its stats socket."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

from commonpool.chain.model import Uwsgi

SECONDS = 2.0
"""How long it may take to answer; it takes milliseconds."""

_MOST_BYTES = 32 * 1024 * 1024


def read_stats(uwsgi: Uwsgi, seconds: float = SECONDS) -> dict[str, Any] | None:
    """The JSON of the stats socket that the configuration names.

    Args:
        uwsgi: whose option ``stats`` says where it is: a path, or host:port.
        seconds: that it has.

    Returns:
        `None` where there is no such option, or nobody there who answers as uWSGI does.
    """
    option = uwsgi.get("stats")
    if option is None or not isinstance(option.value, str | int):
        return None
    text = None
    for address in _addresses(str(option.value), uwsgi):
        with contextlib.suppress(OSError, ValueError):
            text = _ask(address, seconds, is_http=uwsgi.is_on("stats-http"))
            break
    if text is None:
        return None
    if text.startswith(b"HTTP/"):  # stats-http
        text = text.partition(b"\r\n\r\n")[2]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "workers" in found else None


def _addresses(given: str, uwsgi: Uwsgi) -> list[str | tuple[str, int]]:
    host, colon, port = given.rpartition(":")
    if colon and port.isdigit():
        is_any = host in ("", "*", "0.0.0.0")  # noqa: S104 - where it is asked, not where it listens
        return [("127.0.0.1" if is_any else host.strip("[]"), int(port))]
    if given.startswith("@"):
        return ["\0" + given[1:]]
    chdir = uwsgi.get("chdir")
    folders = [Path.cwd()] if chdir is None else [Path(str(chdir.value)), Path.cwd()]
    return [str(folder / given) for folder in folders]


def _ask(address: str | tuple[str, int], seconds: float, *, is_http: bool) -> bytes:
    end = time.monotonic() + seconds
    if isinstance(address, tuple):
        connection = socket.create_connection(address, seconds)
    else:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(seconds)
        if isinstance(address, str):
            connection.connect(address)
        if is_http:  # it waits for a request then
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        parts = []
        size = 0
        while size < _MOST_BYTES:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            part = connection.recv(65536)
            if not part:
                break
            parts.append(part)
            size += len(part)
    return b"".join(parts)
