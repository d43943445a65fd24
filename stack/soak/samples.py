"""Resident memory of every worker process, several times a second, by its age."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from stack.native.uwsgi import UWSGI
from stack.soak.processes import memory_and_threads

PAUSE = 0.2  # seconds between two looks: several in a tenth of what the short form measures


class Sample(NamedTuple):
    """One look at one process: when (seconds, monotonic), KiB of memory, threads."""

    moment: float
    rss: int
    threads: int


class Samples:
    """What was seen of each worker process, by process id, in the order of their coming."""

    def __init__(self) -> None:
        self.of: dict[int, list[Sample]] = defaultdict(list)

    @contextmanager
    def taken(self, server: UWSGI) -> Iterator[None]:
        """Look again and again meanwhile."""
        ended = threading.Event()
        thread = threading.Thread(target=self._take, args=(server, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _take(self, server: UWSGI, ended: threading.Event) -> None:
        while not ended.wait(PAUSE):
            try:
                pids = [worker["pid"] for worker in server.stats()["workers"]]
            except (OSError, ValueError):  # a reload is going on
                continue
            for pid in pids:
                try:
                    rss, threads = memory_and_threads(pid)
                except (OSError, KeyError):  # it has ended since
                    continue
                self.of[pid].append(Sample(time.monotonic(), rss, threads))

    def memory(self, pid: int, begin: float, end: float) -> float | None:
        """The median of a process's memory in KiB, between two moments; `None` if not seen then."""
        seen = [sample.rss for sample in self.of[pid] if begin <= sample.moment <= end]
        return statistics.median(seen) if seen else None

    def memory_at_age(self, pid: int, youngest: float, oldest: float) -> float | None:
        """The same, between two ages in seconds; `None` if it did not live that long."""
        born = self.of[pid][0].moment
        if self.of[pid][-1].moment - born < oldest:
            return None
        return self.memory(pid, born + youngest, born + oldest)
