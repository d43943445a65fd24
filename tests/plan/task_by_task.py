"""A host simulated task by task, with nothing of the model's in it.

Worker processes with a GIL each, cores that all threads share (so a request's Python has one part,
and each of its queries too), workers that take the tasks of requests in turn, callers that help,
queries that wait and then keep the database's processor busy on the same machine.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from commonpool.chain.measured import Sizes

Then = Callable[[], None]


@dataclass
class Asked:
    """A request that is under way."""

    due: float
    process: int
    unstarted: int
    unfinished: int


@dataclass
class Machine:
    """Draws requests, and lets them pass."""

    sizes: Sizes
    cores: int
    processor: float  # seconds of a core, in the worker process
    contended: float  # seconds of a core, of all queries
    latency: float  # seconds of a query, beside
    tasks: int
    draws: random.Random
    now: float = 0.0
    latencies: dict[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        processes = self.sizes.processes
        self._later: list[tuple[float, int, Then]] = []
        self._running: dict[int, tuple[int, Then]] = {}  # whose it is: a process, or a query's own
        self._left: dict[int, float] = {}
        self._number = 0
        self._listening: list[float] = []
        self._threads = [self.sizes.threads] * processes
        self._idle = [self.sizes.max_workers] * processes
        self._turns: list[list[Asked]] = [[] for _ in range(processes)]

    def run(self, rps: float, requests: int) -> list[float]:
        """Seconds of so many requests, in the order in which they came."""
        due = 0.0
        for _ in range(requests):
            due += self.draws.expovariate(rps)
            self._at(due, lambda due=due: self._arrive(due))  # type: ignore[misc]
        while len(self.latencies) < requests:
            self._step()
        return [self.latencies[due] for due in sorted(self.latencies)]

    def _step(self) -> None:
        owners: dict[int, int] = {}
        for owner, _ in self._running.values():
            owners[owner] = owners.get(owner, 0) + 1
        share = min(1.0, self.cores / len(owners)) if owners else 1.0
        speed = {number: share / owners[owner] for number, (owner, _) in self._running.items()}
        first, ends = -1, math.inf
        for number, left in self._left.items():
            if self.now + left / speed[number] < ends:
                first, ends = number, self.now + left / speed[number]
        until = min(ends, self._later[0][0] if self._later else math.inf)
        for number in self._left:
            self._left[number] -= (until - self.now) * speed[number]
        self.now = until
        if ends <= until:
            del self._left[first]
            self._running.pop(first)[1]()
        else:
            heapq.heappop(self._later)[2]()

    def _at(self, when: float, then: Then) -> None:
        self._number += 1
        heapq.heappush(self._later, (when, self._number, then))

    def _compute(self, seconds: float, process: int | None, then: Then) -> None:
        self._number += 1
        self._running[self._number] = (-self._number if process is None else process, then)
        self._left[self._number] = seconds * self.draws.gammavariate(11, 1 / 11)

    def _arrive(self, due: float) -> None:
        free = [process for process, threads in enumerate(self._threads) if threads]
        if free:
            self._begin(due, self.draws.choice(free))
        else:
            self._listening.append(due)

    def _begin(self, due: float, process: int) -> None:
        self._threads[process] -= 1
        asked = Asked(due, process, self.tasks, self.tasks)
        self._compute(self.processor / 2, process, lambda: self._fan_out(asked))

    def _fan_out(self, asked: Asked) -> None:
        self._start(asked, helping=True)  # the caller's own
        self._turns[asked.process].append(asked)
        self._feed(asked.process)

    def _feed(self, process: int) -> None:
        turns = self._turns[process]
        while turns and self._idle[process]:
            asked = turns.pop(0)
            if asked.unstarted:
                self._idle[process] -= 1
                self._start(asked, helping=False)
                turns.append(asked)

    def _start(self, asked: Asked, *, helping: bool) -> None:
        asked.unstarted -= 1
        each = self.contended / self.tasks
        self._at(
            self.now + self.latency,
            lambda: self._compute(each, None, lambda: self._finish(asked, helping=helping)),
        )

    def _finish(self, asked: Asked, *, helping: bool) -> None:
        asked.unfinished -= 1
        if not helping:
            self._idle[asked.process] += 1
            self._feed(asked.process)
        elif asked.unstarted:
            self._start(asked, helping=True)
        if not asked.unfinished:
            self._compute(self.processor / 2, asked.process, lambda: self._answer(asked))

    def _answer(self, asked: Asked) -> None:
        self.latencies[asked.due] = self.now - asked.due
        self._threads[asked.process] += 1
        if self._listening:
            self._begin(self._listening.pop(0), asked.process)
