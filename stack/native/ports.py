"""TCP ports of the loopback interface."""

from __future__ import annotations

import errno
import socket

from stack.native.errors import NativeError

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody listened on a moment ago.

    Somebody else may take it before it is used; a server that then cannot start says so.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int) -> None:
    """Make sure that a server of ours can listen on ``port``.

    Raises:
        NativeError: somebody else listens there, or only root may.
    """
    with socket.socket() as probe:
        # As the servers do: connections of an earlier run that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise NativeError(
                    f"port {port} is taken by another program: stop it, or choose another port "
                    f"with PORT={_another(port)}"
                ) from None
            if error.errno == errno.EACCES:
                raise NativeError(
                    f"port {port} is for root alone: choose one above 1023 with PORT=8080"
                ) from None
            raise NativeError(f"port {port} cannot be used: {error.strerror}") from None


def answers(port: int) -> bool:
    """Return whether somebody accepts connections on ``port``."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def _another(port: int) -> int:
    return port + 1 if port < 65535 else 8080  # noqa: PLR2004 (the highest port there is)
