"""A server that runs the probe as a child process: what it is asked, and what is seen of it."""

from __future__ import annotations

import os
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stack.native.child import Child
from stack.native.errors import log_tail
from stack.native.ports import HOST, answers, free_port
from stack.native.waiting import wait_until
from tests.integration.helpers import new_client

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
PROBE = "tests.servers.probe:application"
START_LIMIT = 30.0  # seconds
END_LIMIT = 20.0  # seconds for a worker process to end: less than any server's own patience


class Kind(ABC):
    """A server in one of its configurations."""

    processes = 1  # that answer requests
    forks = False  # whether those are children of the one that was started
    has_greenlets = False  # whether gevent's greenlets serve requests

    def listens(self, pid: int) -> bool:
        """Whether a worker process is far enough to take an order to end."""
        return alive(pid)

    @abstractmethod
    def command(self, folder: Path, port: int) -> list[str | Path]:
        """What to start; a configuration may be written into the folder."""

    def environ(self) -> dict[str, str]:
        """What it needs beside the variables that all get."""
        return {}


@dataclass(frozen=True)
class Ending:
    """A way in which a worker process comes to its end.

    Attributes:
        order: makes it so; nothing where the process ends by itself.
        noticed: what the log says once that has begun, with `{pid}` for the process; a pattern.
            Empty where the process ends by itself, after its request.
        goes_on: whether the server has another process then.
        needs_traffic: whether the process may notice it with its next request only.
    """

    order: Callable[[Running], object]
    noticed: str
    goes_on: bool = True
    needs_traffic: bool = False


class Running:
    """A server with the probe in it."""

    def __init__(self, kind: Kind, folder: Path, port: int, child: Child) -> None:
        self.kind = kind
        self.folder = folder
        self.port = port
        self.child = child

    def get(self, path: str) -> httpx.Response:
        """The answer to a request, on a connection of its own."""
        with new_client(f"http://{HOST}:{self.port}") as client:
            return client.get(path, headers={"Connection": "close"})

    @contextmanager
    def get_meanwhile(self, path: str) -> Iterator[Callable[[], httpx.Response]]:
        """Have a request be answered meanwhile; what is yielded waits for the answer."""
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(self.get, path)
            yield future.result

    def worker_pids(self) -> set[int]:
        """The processes that answer requests."""
        return children(self.child.pid) if self.kind.forks else {self.child.pid}

    def pids(self, event: str) -> list[int]:
        """The process of each time that something happened in the application."""
        events = self.folder / "events"
        lines = events.read_text().splitlines() if events.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0] == event]

    def wait_for(self, event: str, times: int = 1) -> list[int]:
        """Wait until something has happened in the application; the processes."""
        self.wait(lambda: len(self.pids(event)) >= times, f"{event}, {times} times")
        return self.pids(event)

    def open(self, gate: str) -> None:
        """Let go what waits for a gate."""
        (self.folder / gate).touch()

    @property
    def log(self) -> str:
        """What the server and the application have logged."""
        return self.child.log.read_text(errors="replace")

    def wait_for_log(self, pattern: str) -> None:
        """Wait until the log has what a pattern describes."""
        self.wait(lambda: re.search(pattern, self.log), f"{pattern!r} in the log")

    def wait(self, condition: Callable[[], T], what: str, limit: float = START_LIMIT) -> T:
        """Wait for a condition; its first true answer. If there is none, the log is shown."""
        try:
            return wait_until(condition, limit, what=what)
        except TimeoutError as error:
            raise AssertionError(f"{error}; the log:{log_tail(self.child.log, 40)}") from None

    def wait_for_end(self, pid: int, *, traffic: bool = False) -> None:
        """Wait until a process has ended.

        Args:
            pid: which.
            traffic: whether to send requests meanwhile.
        """

        def ended() -> bool:
            if traffic:
                self.get("/stats")
            return not alive(pid)

        self.wait(ended, f"the end of process {pid}", END_LIMIT)

    def are_there(self, but_not: AbstractSet[int] = frozenset()) -> set[int]:
        """The worker processes, if all of them listen, and none is one of the given ones."""
        pids = self.worker_pids()
        if len(pids) != self.kind.processes or pids & but_not:
            return set()
        return pids if all(self.kind.listens(pid) for pid in pids) else set()

    def wait_for_workers(self, but_not: AbstractSet[int] = frozenset()) -> set[int]:
        """Wait until all processes are there, and none of the given ones."""
        return self.wait(lambda: self.are_there(but_not), "worker processes")

    def end(self, ending: Ending, pid: int) -> None:
        """Have a worker process come to its end; return when that has begun."""
        ending.order(self)
        if ending.noticed:
            self.wait_for_log(ending.noticed.format(pid=pid))


@contextmanager
def run(kind: Kind, folder: Path, **variables: str) -> Iterator[Running]:
    """Run a server with the probe until the block ends.

    Args:
        kind: which.
        folder: for its configuration, its log and the probe's files.
        variables: added to its environment.
    """
    port = free_port()
    # Three workers, which with the caller make the four that the probe's barrier wants.
    environ = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COMMONPOOL_", "PROBE_", "UWSGI_", "GUNICORN_"))
        },
        "COMMONPOOL_MAX_WORKERS": "3",
        "COMMONPOOL_DRAIN_TIMEOUT": "1",
        "PROBE_FOLDER": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONDEVMODE": "",
        **kind.environ(),
        **variables,
    }
    child = Child("the server", kind.command(folder, port), log=folder / "log", environ=environ)
    with ExitStack() as stack:
        stack.callback(child.kill)
        running = Running(kind, folder, port, child)
        child.wait_ready(
            lambda: answers(port) and running.pids("loaded") and running.are_there(), START_LIMIT
        )
        yield running


def children(parent: int) -> set[int]:
    """The child processes of a process, but for those that only wait to be reaped."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            state = _stat(int(folder.name))
            if state is not None and state[0] != "Z" and int(state[1]) == parent:
                found.add(int(folder.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    state = _stat(pid)
    return state is not None and state[0] != "Z"


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _stat(pid: int) -> list[str] | None:
    """State, parent and so on of a process; `None` where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def nothing(_: Running) -> None:
    """No order: the process ends by itself."""


def signal_to_main(number: signal.Signals) -> Callable[[Running], None]:
    """An order by a signal to the process that was started."""
    return lambda running: running.child.send(number)
