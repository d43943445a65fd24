"""A service behind a socket that outlives it: what systemd does with a .socket and a .service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stack.native.uwsgi import INI, UWSGI
from tests.integration.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

QUEUE = 128  # `listen` in uwsgi.ini, and Backlog= in the unit

# The socket becomes descriptor 3, the first that systemd hands over, and the process id in
# LISTEN_PID is that of the program itself, which only the process that becomes it can know.
_HAND_OVER = """
import os, sys
descriptor, protocol, *command = sys.argv[1:]
os.dup2(int(descriptor), 3, inheritable=True)
if protocol == "LISTEN_FDS":
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
else:
    os.environ["STACK_SOCKET_FD"] = "3"
os.execv(command[0], command)
"""


# Signals are sent by the service itself.
_NOBODY: Any = None


class Service:
    """uWSGI with the project's own uwsgi.ini, on a socket that is not its own.

    Args:
        run: the folder of the sockets.
        environ: uWSGI's variables.
        protocol: how it is told of the socket: ``LISTEN_FDS`` or ``fd://``.
        listener: the socket.
        log: its log, appended to.

    Attributes:
        server: what it tells of itself.
    """

    def __init__(
        self,
        run: Path,
        environ: Mapping[str, str],
        protocol: str,
        listener: socket.socket,
        log: Path,
    ) -> None:
        self.log = log
        self._listener = listener
        self._protocol = protocol
        self._environ = {**environ, "STACK_RUN_DIR": str(run), "STACK_PYUWSGI": sys.executable}
        self._process: subprocess.Popen[bytes] | None = None
        self.server = UWSGI(_NOBODY, run, None)

    def start(self) -> None:
        """Start it, and wait until it can answer."""
        program = str(Path(sys.executable).with_name("uwsgi"))
        descriptor = self._listener.fileno()
        hand_over = [sys.executable, "-c", _HAND_OVER, str(descriptor), self._protocol]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*hand_over, program, "--ini", str(INI)],
                pass_fds=[descriptor],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.server.worker_pids, 60, what="uWSGI")

    def stop(self) -> int:
        """Ask it to end in good order, wait for it, and return its exit status."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def reload(self) -> None:
        """Ask for a graceful reload."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it, and what is left of its processes, at once."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def held_socket(path: Path) -> Iterator[socket.socket]:
    """A listening UNIX socket, of which nobody accepts a connection as yet."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o640)
        listener.listen(QUEUE)
        yield listener
