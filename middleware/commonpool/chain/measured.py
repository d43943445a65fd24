"""What `commonpool tune` measures, as it is kept in a file, and `commonpool plan` reads again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Sizes:
    """What is varied.

    Attributes:
        processes: uWSGI's worker processes.
        threads: request threads in each of them.
        max_workers: workers of the pool in each of them.
        connections: of the engine in each of them, `None` where they are not varied.
    """

    processes: int
    threads: int
    max_workers: int
    connections: int | None = None


@dataclass(frozen=True)
class Run:
    """One load on one setting.

    Attributes:
        sizes: of the server.
        round: in which it was made, from 0.
        rps: requests that were due in a second.
        seconds: for which it was loaded, after the warm-up.
        latencies: seconds from when each request was due until its whole answer, of those answered
            well.
        failures: of those that were not: statuses and errors, by what they ended in.
        processor_seconds: that all worker processes used meanwhile.
        memory: bytes of each worker process at its end (PSS).
        connections: most that were open in the database at a time; 0 where that is not known.
    """

    sizes: Sizes
    round: int
    rps: float
    seconds: float
    latencies: Sequence[float]
    failures: dict[str, int]
    processor_seconds: float
    memory: Sequence[int]
    connections: int = 0


@dataclass(frozen=True)
class Measurements:
    """All of one `commonpool tune`.

    Attributes:
        url: what was asked for.
        ini: the file with which uWSGI was started.
        cores: of the machine.
        unloaded: seconds of requests that were sent one after another, the machine being idle.
        processor_seconds_per_request: of one request in the worker process.
        tasks_per_request: that the pool's workers and callers ran for one, in the mean.
        runs: in the order in which they were made.
    """

    url: str
    ini: str
    cores: int
    unloaded: Sequence[float]
    processor_seconds_per_request: float
    tasks_per_request: float
    runs: Sequence[Run]
