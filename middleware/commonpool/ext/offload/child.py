"""The program of a child process: runs one offloaded call after another until its parent is gone.

It is started by its path, and knows nothing of commonpool: what it imports is what calls need.
A frame is eight bytes with a length, and so many bytes. The first frame is what to begin with, each
other one is a call. The answer to a call is two frames: how it ended, and its result or its error.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import socket
import sys
import traceback
from typing import Any


def die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process and what it has started when the parent is gone.

    Args:
        lifeline: reading end of a pipe whose other end the parent has, and never writes to.

    Whoever holds the GIL for long, or runs another program, is ended so, too. Elsewhere than on
    Linux the process ends with the call that it runs.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    try:
        gone = not os.read(lifeline, 1)  # before it could be told
    except BlockingIOError:
        gone = False
    if gone:
        os._exit(0)


def receive(parent: socket.socket) -> bytes:
    """The next frame.

    Raises:
        EOFError: the parent is gone.
    """
    return exactly(parent, int.from_bytes(exactly(parent, 8), "big"))


def exactly(parent: socket.socket, size: int) -> bytes:
    """So many bytes, as they come."""
    held = bytearray(size)
    view, filled = memoryview(held), 0
    while filled < size:
        count = parent.recv_into(view[filled:])
        if not count:
            raise EOFError
        filled += count
    return bytes(held)


def send(parent: socket.socket, *frames: bytes) -> None:
    """Send frames."""
    for frame in frames:
        parent.sendall(len(frame).to_bytes(8, "big"))
        parent.sendall(frame)


def answer(payload: bytes) -> tuple[tuple[str, str, str], bytes]:
    """Run a call.

    Returns:
        How it ended (``"result"``, ``"error"``, or ``"lost"`` for what cannot be sent back), what
        there is to be said of that, and the traceback; then the result or the error, pickled.
    """
    value: Any
    try:
        target, is_decorated, args, kwargs = pickle.loads(payload)  # noqa: S301 - its parent's
        value = (target.__wrapped__ if is_decorated else target)(*args, **kwargs)
    except BaseException as error:  # SystemExit too: this process is not what is to end
        text = "".join(traceback.format_exception(error))
        said = "".join(traceback.format_exception_only(error)).strip()
        if not isinstance(error, Exception):
            return ("lost", f"it raised {said}", text), b""
        try:
            body = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
            pickle.loads(body)  # noqa: S301 - the parent could not, either
        except Exception:
            return ("lost", f"it raised what cannot be pickled: {said}", text), b""
        return ("error", said, text), body
    try:
        return ("result", "", ""), pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        said = f"its result, of type {type(value).__qualname__}, cannot be pickled: {error}"
        return ("lost", said, "".join(traceback.format_exception(error))), b""


def main(parent: socket.socket, lifeline: int) -> None:
    """Run calls until the parent is gone."""
    # What the parent's threads block (uWSGI's block all), a child inherits.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent's Ctrl-C is not for it
    die_with_parent(lifeline)
    try:
        sys.path[:] = pickle.loads(receive(parent))  # noqa: S301 - from its parent
        while True:
            end, body = answer(receive(parent))
            send(parent, pickle.dumps(end), body)
            del end, body  # not to be kept while it waits
    except (EOFError, ConnectionError):
        os._exit(0)  # nobody is left to tell


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
