"""What tests offload. The other processes import this module, and nothing of pytest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from commonpool import run_in_parallel
from commonpool.ext.offload import offload


def add(a: int, b: int = 1) -> int:
    return a + b


def pid() -> int:
    return os.getpid()


def echo(value: Any) -> Any:
    return value


def append(items: list[int]) -> list[int]:
    items.append(os.getpid())
    return items


def held(folder: str, name: str, gate: str = "go") -> str:
    """Leave a file with this process's id under a name, then wait for a gate."""
    begun(folder, name)
    while not (Path(folder) / gate).exists():
        time.sleep(0.002)
    return name


def begun(folder: str, name: str) -> None:
    with (Path(folder) / "order").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")


def never_ends(folder: str, name: str) -> None:
    """Never end, and never let go of the GIL."""
    begun(folder, name)
    re.match(r"(a|aa)+b", "a" * 1000)


def runs_a_program(folder: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with (Path(folder) / "order").open("a") as file:
        file.write(f"program {child.pid}\n")
    child.wait()


class Refused(ValueError):
    """Has an argument that it cannot be made without, which pickle does not know of."""

    def __init__(self, what: str, *, why: str) -> None:
        super().__init__(what)
        self.why = why


def fails(message: str) -> NoReturn:
    raise KeyError(message)


def fails_oddly() -> NoReturn:
    raise Refused("that", why="because")


def fails_with_what_is_not_known_here() -> NoReturn:
    class Hidden(Exception):
        pass

    Hidden.__qualname__ = "Hidden"
    globals()["Hidden"] = Hidden  # in this process alone
    raise Hidden("of that process")


def exits() -> NoReturn:
    sys.exit(3)


def dies(how: str) -> None:
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.Signals[how])


def waiting_here(dask_worker: Any) -> int:
    """How many calls a Dask worker has that it has not begun."""
    states = [task.state for task in dask_worker.state.tasks.values()]
    return sum(state in ("ready", "waiting", "constrained") for state in states)


def returns_a_lambda() -> Any:
    return lambda: None


def offloads() -> tuple[int, list[int]]:
    return os.getpid(), run_in_parallel([offload(pid)(), offload(pid)()])


@offload
def doubled(value: int) -> int:
    """Twice a value."""
    return 2 * value


async def asynchronous() -> None:
    pass
