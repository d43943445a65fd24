"""What tests wait with, and prove a bound with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from unittest import mock

from commonpool import CommonPool, pace
from commonpool.pace import WORTH
from stack.bench.counting import SteadyPace


def wait_until(condition: Callable[[], Any], limit: float = 10.0) -> Any:
    """Wait for a condition to hold (its value is returned); fail after `limit` seconds."""
    ends_at = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise AssertionError(f"not so after {limit} s: {condition}")
        time.sleep(0.001)
    return value


def pool_threads() -> list[str]:
    """Those of pools: not the event loop, which is the process's as long as that lives."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("commonpool") and name != "commonpool-loop"]


class Gate:
    """Holds tasks until it is opened, and records how many stood at it at a time."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.inside = 0
        self.peak = 0
        self.passed = 0

    def __call__(self, value: Any = None) -> Any:
        """A task: stand at the gate, then return `value`."""
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        try:
            if not self._open.wait(30):
                raise AssertionError("the gate was never opened")
        finally:
            with self._lock:
                self.inside -= 1
                self.passed += 1
        return value

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


def run_python(
    source: str, *, limit: float = 30.0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a Python of its own; its exit code and what it printed."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=limit,
        env={**os.environ, **variables},
        check=False,
    )


@contextmanager
def busy(pool: CommonPool, arrival: float = 10.0) -> Iterator[None]:
    """For a pool that takes its machine for so busy that workers take so many seconds to come."""
    dispatch = pool._dispatch  # noqa: SLF001 - no other way to have a busy machine
    before, dispatch.pace = dispatch.pace, SteadyPace(arrival)
    try:
        with mock.patch.object(pace, "WORTH", WORTH):
            yield
    finally:
        dispatch.pace = before


@contextmanager
def frozen(*processes: int) -> Iterator[None]:
    """Processes that do nothing while the block runs, in none of their threads."""
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        # the first thread of a process to take the signal stops the others, in its own time
        wait_until(lambda: all(is_frozen(process) or has_ended(process) for process in processes))
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def is_frozen(process: int) -> bool:
    """Whether all threads of a process are stopped."""
    try:
        states = [
            (thread / "stat").read_text().rpartition(")")[2].split()[0]
            for thread in Path(f"/proc/{process}/task").iterdir()
        ]
    except OSError:  # one has ended in this moment
        return False
    return set(states) == {"T"}


def has_ended(process: int) -> bool:
    """Whether a process is over, reaped or not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
        threads = len(list(Path(f"/proc/{process}/task").iterdir()))
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z" and threads == 1
