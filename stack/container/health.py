"""``python -m stack.container.health``: asks uWSGI for ``/healthz``, by its own protocol.

Exit status 0 where the answer is good, else 1 and one line. With ``--live``, any answer is good: a
process that answers that its database is away is alive, and would not become better by being
started again. With ``--started``, the first good answer has to be one of the database's, too: a
container that has never reached it gets no requests yet, and what has reached it once is asked as
with ``--live``. Imports next to nothing, since it is run every few seconds.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

from stack.container.serving import PORT

SECONDS = 4.0
"""For the whole answer: below what those who ask wait, above what /healthz gives the database."""

_OK = 200
_VARIABLES = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/healthz",
    "PATH_INFO": "/healthz",
    "QUERY_STRING": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": str(PORT),
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost",
}


def ask(port: int = PORT) -> tuple[int, str]:
    """Return the status that ``/healthz`` is answered with, and its line of the answer.

    The packet is uwsgi's: a modifier, the length of the variables, the variables, another modifier;
    each name and each value after its own length.
    (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html)

    Raises:
        OSError: nobody answers there, or not in `SECONDS`.
        ValueError: what answers does not speak HTTP.
    """
    body = b"".join(_counted(name) + _counted(value) for name, value in _VARIABLES.items())
    with socket.create_connection(("localhost", port), timeout=SECONDS) as connection:
        connection.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
        with connection.makefile("rb") as answer:
            line = answer.readline(1024).decode("latin-1").strip()
    parts = line.split()
    if len(parts) < 2 or not parts[1].isdecimal():  # noqa: PLR2004 (protocol, status)
        raise ValueError(f"not an answer: {line!r}")
    return int(parts[1]), line


def _counted(value: str) -> bytes:
    encoded = value.encode("latin-1")
    return struct.pack("<H", len(encoded)) + encoded


def main(arguments: list[str], port: int = PORT) -> int:
    """Return the exit status: 0 for a good answer."""
    if arguments not in ([], ["--live"], ["--started"]):
        sys.stderr.write("usage: python -m stack.container.health [--live | --started]\n")
        return 2
    try:
        status, line = ask(port)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"/healthz: {error}\n")
        return 1
    sys.stdout.write(f"/healthz: {line}\n")
    if arguments == ["--started"]:
        return 0 if _has_been_well(now=status == _OK) else 1
    return 0 if arguments or status == _OK else 1


def _has_been_well(*, now: bool) -> bool:
    """Whether it is well, or was before; kept beside the sockets, which go with the container."""
    mark = Path(os.environ["STACK_RUN_DIR"]) / "was-well"
    if now:
        mark.touch()
    return mark.exists()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
