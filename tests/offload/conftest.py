"""What the tests of offloaded calls ask for by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commonpool import OwnerExecutor, adapters, testing
from commonpool.ext.offload.children import PROGRAM
from commonpool.ext.offload.task import offload_task
from commonpool.owner import current
from tests.helpers import wait_until


@pytest.fixture(autouse=True)
def _offloaded_calls_are_tasks(
    _coroutines_are_no_tasks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the import of `commonpool.ext.offload`, and of that alone."""
    monkeypatch.setattr(adapters, "async_adapters", [offload_task])


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    testing.reset()
    wait_until(lambda: not children_of(os.getpid()))


@pytest.fixture
def request_executor() -> Iterator[Callable[..., OwnerExecutor]]:
    """Make the executor of a request, which is the current one until the test is over."""
    made: list[OwnerExecutor] = []
    token = current.set(None)

    def make(*args: float) -> OwnerExecutor:
        made.append(OwnerExecutor(*args))
        current.set(made[-1])
        return made[-1]

    yield make
    current.reset(token)
    for executor in made:
        executor.end()


def children_of(parent: int) -> set[int]:
    """The processes of another one that run offloaded calls."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if of == parent and PROGRAM in (folder / "cmdline").read_text().split("\0"):
                    found.add(int(folder.name))
            except OSError:  # it has ended in this moment
                continue
    return found


class Folder:
    """Where calls say that they have begun, and wait for a gate."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def order(self) -> list[tuple[str, int]]:
        """The names of calls in the order in which they began, with their processes."""
        file = self.path / "order"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(name, int(pid)) for name, pid in map(str.split, lines)]

    def wait_for(self, number: int) -> list[tuple[str, int]]:
        """Wait until so many calls have begun."""
        wait_until(lambda: len(self.order()) >= number, limit=30)
        return self.order()

    def open(self, gate: str = "go") -> None:
        (self.path / gate).touch()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    made.open()
