"""Which settings are tried."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from commonpool.chain.measured import Sizes
from commonpool.tune.errors import TuneError

NAMES = {"processes": 1_000, "threads": 1_000, "workers": 1_000, "connections": 10_000}
"""What can be varied, and the most that is taken for it."""

_MOST = 10_000  # settings
_MOST_THREADS = 4_096  # request threads of all processes: beyond it the whole machine stands still


def parse(text: str) -> dict[str, list[int]]:
    """A grid such as ``processes=1,2,4 threads=4,8 workers=8,24``.

    Returns:
        The values of what it names, each once and in order.

    Raises:
        TuneError: it has a mistake.
    """
    grid: dict[str, list[int]] = {}
    for part in re.sub(r"\s*([=,])\s*", r"\1", text).split():
        name, _, values = part.partition("=")
        if name not in NAMES:
            raise TuneError(
                f"--grid: {part!r}: what can be varied is {', '.join(NAMES)}, "
                "as in processes=1,2,4 threads=4,8"
            )
        if name in grid:
            raise TuneError(f"--grid: {name} stands there twice")
        grid[name] = sorted({_number(name, value) for value in values.split(",")})
    if not grid:
        raise TuneError("--grid: it names nothing; as in processes=1,2,4 threads=4,8")
    _require_few_threads(max(grid.get("processes", [1])), max(grid.get("threads", [1])))
    return grid


def default(present: Sizes, cores: int, tasks: float) -> dict[str, list[int]]:
    """A grid around what the machine has, and what is set at present.

    Args:
        present: what is set.
        cores: of the machine.
        tasks: that a request has in the mean; 0 where the pool is not used.
    """
    processes = {1, cores, 2 * cores}
    threads = {1, 4, 8, 16}
    several = max(round(tasks), 1)
    workers = {several, 2 * several, 4 * several} if tasks > 0 else {present.max_workers}
    return {
        "processes": sorted(processes),
        "threads": sorted(threads),
        "workers": sorted(workers),
    }


def settings(
    grid: Mapping[str, Sequence[int]], present: Sizes, *, connections: bool
) -> list[Sizes]:
    """All settings of a grid, the present one too, the smallest first.

    Args:
        grid: the values of what is varied; what it does not name is as at present.
        present: what is set.
        connections: whether the size of the connection pool can be set. It is that of the pool
            where the grid does not name it.

    Raises:
        TuneError: there are too many, or one of them has too many threads.
    """
    count = math.prod(len(values) for values in grid.values())
    if count > _MOST:
        raise TuneError(f"--grid: {count:,} settings; at most {_MOST:,} can be tried")
    if grid.keys() & {"processes", "threads"}:
        _require_few_threads(
            max(grid.get("processes", [present.processes])),
            max(grid.get("threads", [present.threads])),
        )
    sizes = {
        Sizes(processes, threads, workers, some if connections else None)
        for processes, threads, workers in itertools.product(
            grid.get("processes", [present.processes]),
            grid.get("threads", [present.threads]),
            grid.get("workers", [present.max_workers]),
        )
        for some in grid.get("connections", [workers])
    }
    return sorted(sizes | {present}, key=size)


def size(sizes: Sizes) -> tuple[int, int, int, int]:
    """What makes a setting smaller than another: processes first, since they cost most memory."""
    return sizes.processes, sizes.threads, sizes.max_workers, sizes.connections or 0


def words(sizes: Sizes) -> str:
    """A setting in one short line, such as ``2 x 8, 24 workers``."""
    several = "" if sizes.max_workers == 1 else "s"
    told = f"{sizes.processes} x {sizes.threads}, {sizes.max_workers} worker{several}"
    if sizes.connections is not None:
        told += f", {sizes.connections} connection{'' if sizes.connections == 1 else 's'}"
    return told


def _require_few_threads(processes: int, threads: int) -> None:
    if processes * threads > _MOST_THREADS:
        raise TuneError(
            f"--grid: {processes:,} processes x {threads:,} threads are {processes * threads:,} "
            f"request threads; at most {_MOST_THREADS:,} can be tried"
        )


def _number(name: str, text: str) -> int:
    most = NAMES[name]
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= most:
        raise TuneError(f"--grid: {name}={text!r} is no whole number from 1 to {most:,}")
    return number
