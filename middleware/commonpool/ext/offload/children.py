"""Children: processes of this machine that run offloaded calls, each one call at a time.

Neither of the libraries at hand would do. The standard library's ProcessPoolExecutor, and loky's,
cannot stop a running call: whoever kills its process breaks the pool for all others. pebble's can,
but its processes share a pipe and its locks, so that one that is killed at the wrong moment leaves
the others waiting for ever (noxdafox/pebble issues 153, 163). Here each process has a socket of its
own and shares nothing: a kill, a crash or the kernel's OOM killer ends its own call alone.

Nor does multiprocessing start them. It would start `sys.executable`, which is uwsgi where that
embeds Python, run the program of a script again, and join children without a limit at exit.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from commonpool.ext.offload import child as program
from commonpool.ext.offload.calls import Call
from commonpool.ext.offload.errors import OffloadError, RemoteTraceback
from commonpool.ext.offload.turns import Turns
from commonpool.task import Owner

PROGRAM = str(Path(program.__file__).resolve())

# Seconds between looks whether a process that was killed has ended: at first, and at most.
FIRST_LOOK, LAST_LOOK = 0.001, 0.1

End = tuple[str, str, str]
"""How a call has ended, as `child.answer` has it."""


class Children:
    """At most so many processes, started when there is a call for them, and kept for the next.

    Used on the thread of one event loop alone.

    Guarantees:
        Never more calls run, nor processes exist, than there are places; owners take turns.
        A call that is cancelled is stopped: its process is killed, with what that has started.
        What ends a process is an error of the one call that it ran.
        No process outlives its parent, however that ends (on Linux).

    Args:
        places: how many processes there may be.
    """

    def __init__(self, places: int) -> None:
        self._turns = Turns(places)
        self._idle: list[Child] = []

    async def run(self, call: Call[object], owner: Owner) -> object:
        """The result of a call.

        Raises:
            OffloadError: no process could be started, it has died, or the result is lost.
            BaseException: what the call raised; its cause has the traceback.
        """
        await self._turns.take(owner)
        try:
            child = self._one_that_waits() or Child()
            try:
                end, body = await child.ask(call)
            except BaseException:
                await child.end()
                raise
            self._idle.append(child)  # the last in is the first out: its memory is the warmest
        finally:
            self._turns.give_back()
        return value_of(call, end, body)

    async def close(self) -> None:
        """End those that wait for a call."""
        while self._idle:
            await self._idle.pop().end()

    def _one_that_waits(self) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.is_alive():
                return child
            child.forget()
        return None


class Child:
    """A process that runs one call at a time. Making it starts it.

    Raises:
        OffloadError: it cannot be started.
    """

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [interpreter(), "-P", PROGRAM, str(theirs.fileno()), str(lifeline)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lifeline),
                process_group=0,  # Ctrl-C in a terminal is not for it; what it starts ends with it
            )
        except OSError as error:
            self.forget()
            raise OffloadError(
                f"no process could be started for offloaded calls: {error}"
            ) from None
        except BaseException:
            self.forget()
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        self._socket.setblocking(False)  # noqa: FBT003
        self._is_new = True

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    async def ask(self, call: Call[object]) -> tuple[End, bytes]:
        """Have it run a call: how that has ended, and the pickled result or error.

        Raises:
            OffloadError: it died before it answered.
        """
        try:
            if self._is_new:
                self._is_new = False
                await self._send(pickle.dumps(sys.path))
            await self._send(call.payload)
            end = pickle.loads(await self._receive())  # noqa: S301 - three texts
            return end, await self._receive()
        except (EOFError, ConnectionError):
            await self.end()
            raise OffloadError(f"{call.name} {died(self._process.returncode)}") from None

    async def end(self) -> None:
        """Kill it with all that it has started, and wait for its end."""
        if self._process.returncode is None:  # not reaped: the number is still its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        look = FIRST_LOOK
        while self._process.poll() is None:
            await asyncio.sleep(look)
            look = min(2 * look, LAST_LOOK)
        self.forget()

    def forget(self) -> None:
        """Close what leads to it."""
        self._socket.close()
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    async def _send(self, frame: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, len(frame).to_bytes(8, "big"))
        await loop.sock_sendall(self._socket, frame)

    async def _receive(self) -> bytes:
        return await self._exactly(int.from_bytes(await self._exactly(8), "big"))

    async def _exactly(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        held = bytearray(size)
        view, filled = memoryview(held), 0
        while filled < size:
            count = await loop.sock_recv_into(self._socket, view[filled:])
            if not count:
                raise EOFError
            filled += count
        return bytes(held)


def value_of(call: Call[object], end: End, body: bytes) -> object:
    """The result of a call that has ended; its error is raised."""
    kind, said, text = end
    if kind == "lost":
        raise OffloadError(f"{call.name} has no result: {said}") from RemoteTraceback(text)
    value: object = None
    try:
        value = pickle.loads(body)  # noqa: S301 - from our own process
    except Exception as error:
        what = "its result" if kind == "result" else f"what it raised ({said})"
        raise OffloadError(
            f"{call.name} has no result: {what} cannot be unpickled here: {error!r}"
        ) from error
    if kind != "error":
        return value
    assert isinstance(value, Exception)  # noqa: S101 - the child has seen to that
    try:
        raise value from RemoteTraceback(text)
    finally:
        del value  # the error's traceback holds this frame


def died(code: int | None) -> str:
    """How a process has ended, for who waits for its call."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        more = ": out of memory?" if name == "SIGKILL" else ""
        return f"has no result: its process was ended by {name}{more}"
    return f"has no result: its process ended with exit code {code}"


def interpreter() -> str:
    """The path of this Python, also where a server embeds it and `sys.executable` is the server.

    Raises:
        OffloadError: there is none to be found.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    folders = dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix))
    candidates = [
        Path(folder) / "bin" / name for folder in folders for name in (version, "python3")
    ]
    return first_executable(candidates)


def first_executable(candidates: Sequence[Path]) -> str:
    """The first of these that is a program."""
    for path in candidates:
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    names = ", ".join(map(str, candidates))
    raise OffloadError(f"no Python for offloaded calls: {sys.executable} is none, nor is {names}")


def usable_processors() -> int:
    """How many processors this process may use."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
