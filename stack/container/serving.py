"""uWSGI behind a socket that is this program's, so that it can be closed first of all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
PORT = 8000
QUEUE = 128
"""Connections that may wait: ``listen`` in uwsgi.ini, which does not count for a socket that uWSGI
was given."""

_SIGNALLED = 128  # a shell's exit status for a program that a signal ended, less its number


def serve(port: int = PORT) -> int:
    """Run uWSGI on every address of the container, until it ends.

    SIGTERM and SIGINT first close the socket, for those that wait in its queue, too: nginx asks
    another replica at once, instead of waiting for this one's last request, which would then lose
    those that queued behind it. What is being answered is answered. (uWSGI cannot do that: it has
    the queue grow until it ends.) SIGHUP is passed on: a reload.

    Args:
        port: for the uwsgi protocol, TCP.

    Returns:
        uWSGI's exit status.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.create_server(
        ("", port), family=family, backlog=QUEUE, dualstack_ipv6=family == socket.AF_INET6
    ) as listener:
        listener.set_inheritable(True)
        descriptor = str(listener.fileno())
        uwsgi = subprocess.Popen(  # noqa: S603 (our own server)
            [Path(sys.executable).parent / "uwsgi", "--ini", ROOT / "uwsgi.ini"],
            env=os.environ | {"STACK_SOCKET_FD": descriptor},
            pass_fds=[listener.fileno()],
        )

        def end(number: int, _frame: FrameType | None) -> None:
            with contextlib.suppress(OSError):  # asked twice
                listener.shutdown(socket.SHUT_RDWR)
            uwsgi.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

        def pass_on(number: int, _frame: FrameType | None) -> None:
            uwsgi.send_signal(number)

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGHUP, pass_on)
        status = uwsgi.wait()
    return status if status >= 0 else _SIGNALLED - status
