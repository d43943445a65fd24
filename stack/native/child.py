"""One server as a child process: started, awaited, watched, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stack.native.errors import NativeError, log_tail
from stack.native.users import User
from stack.native.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_TETHER = Path(__file__).with_name("tether.py")


class Child:
    """A server that runs in a session of its own, and its log.

    Guarantees:
        - Ctrl-C in the terminal does not reach it: who started it decides how it ends.
        - After `stop` or `kill`, neither it nor any process of its process group is left.
        - On Linux it ends when the thread that started it ends, or is killed.

    Not promised: that a process which left its group (a daemon's) is found.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        user: User | None = None,
    ) -> None:
        """Start ``command``.

        Args:
            name: what it is called in errors.
            command: the program and its arguments.
            log: standard output and standard error are appended to this file.
            environ: its whole environment; by default that of this process.
            user: whom it runs as; by default the user of this process.

        Raises:
            NativeError: the program cannot be started.
        """
        self.name = name
        self.log = log
        self._stopped = False
        who = user or User(os.geteuid(), os.getegid())
        ids = [str(number) for number in (os.getpid(), who.uid, who.gid)]
        with log.open("ab") as output:
            try:
                self._process = subprocess.Popen(  # noqa: S603 (our own servers)
                    [sys.executable, "-I", "-S", _TETHER, *ids, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if environ is None else dict(environ),
                    start_new_session=True,
                )
            except OSError as error:
                raise NativeError(f"{name} cannot be started: {error}") from error

    def __repr__(self) -> str:
        state = "running" if self.running() else "ended"
        return f"<{type(self).__name__} {self.name}: {state}, process {self.pid}>"

    @property
    def pid(self) -> int:
        """The process id, of its process group too."""
        return self._process.pid

    def running(self) -> bool:
        """Return whether it has not ended yet."""
        return not self._stopped and not self._ended()

    def wait_ready(self, condition: Callable[[], object], limit: float) -> None:
        """Wait until ``condition`` is true.

        Args:
            condition: whether the server is really up.
            limit: seconds.

        Raises:
            NativeError: it ended, or ``limit`` passed; with the last lines of its log.
        """

        def ready() -> object:
            self.require_running()
            return condition()

        try:
            wait_until(ready, limit, what=self.name)
        except TimeoutError:
            raise NativeError(
                f"{self.name} was not ready after {limit:g} s; see {self.log}{log_tail(self.log)}"
            ) from None

    def require_running(self) -> None:
        """Do nothing while it runs.

        Raises:
            NativeError: it ended by itself; with the last lines of its log.
        """
        if not self.running():
            raise NativeError(f"{self.name} ended by itself; see {self.log}{log_tail(self.log)}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self.running():
            os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, grace: float = 10.0) -> None:
        """Ask it to end with a signal, wait, and then kill what is left.

        Safe to call again.

        Args:
            number: what asks it to end in good order.
            grace: seconds that it may take.
        """
        try:
            self.send(number)
            wait_until(lambda: not self.running(), grace, what=self.name)
        except TimeoutError:
            pass  # killed below, as when the waiting itself is interrupted
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, and its whole process group, at once. Safe to call again."""
        if self._stopped:
            return
        # Before it is reaped: until then its id, and so that of its group, stays its own.
        with suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._stopped = True

    def _ended(self) -> bool:
        # Looks without reaping: see `kill`.
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        try:
            return os.waitid(os.P_PID, self.pid, flags) is not None
        except ChildProcessError:  # it was reaped: gevent's loop does that at once
            return True
