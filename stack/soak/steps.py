"""The steps of a request: what each has the pool do, and which outcomes are right.

The worker process runs a step, the client checks its outcome. Both make it from the same random
numbers, so that no answer has to be taken on trust.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, as_completed, wait
from functools import partial
from random import Random
from typing import Any

from commonpool import DeadlineExceeded, TaskCancelled, current_executor, run_in_parallel
from stack.soak.counts import counts
from stack.soak.tasks import (
    ERRORS,
    fail,
    fail_in_background,
    fail_unread,
    in_background,
    slow_square,
    square,
)

LATE = "late"
"""The outcome of what its time limit has ended."""

LONGEST = 30
"""Tasks of one fan-out at most: more than the pool has workers."""


class Step(ABC):
    """One thing that a request does with the pool.

    Args:
        random: what decides on its numbers.

    Attributes:
        tasks: how many it submits.
    """

    tasks: int

    @abstractmethod
    def __init__(self, random: Random) -> None: ...

    @abstractmethod
    def run(self) -> Any:
        """Do it; the outcome, as JSON knows it."""

    @abstractmethod
    def right(self, outcome: Any) -> bool:
        """Whether an outcome is what sequential code would have got, or a time limit's."""


class Plain(Step):
    """A list or a dict of tasks."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, LONGEST)
        self._first = random.randrange(1000)
        self._mapping = random.random() < 0.3  # noqa: PLR2004 - a share
        self._numbers = range(self._first, self._first + self.tasks)

    def run(self) -> Any:
        """Side by side, with the results in order."""
        if self._mapping:
            return list(run_in_parallel({n: partial(square, n) for n in self._numbers}).values())
        return run_in_parallel([partial(square, n) for n in self._numbers])

    def right(self, outcome: Any) -> bool:
        """All of them."""
        return bool(outcome == [n * n for n in self._numbers])


class Nested(Step):
    """Fan-outs inside the tasks of a fan-out, some inside those."""

    def __init__(self, random: Random) -> None:
        self._outer = random.randint(2, 6)
        self._inner = random.randint(2, 6)
        self._innermost = random.choice([0, 0, 2])
        self.tasks = self._outer * (1 + self._inner * (1 + self._innermost))

    def run(self) -> Any:
        """The sum of what the innermost return."""
        return sum(run_in_parallel([self._middle] * self._outer))

    def _middle(self) -> int:
        return sum(run_in_parallel([partial(self._inmost, n) for n in range(self._inner)]))

    def _inmost(self, number: int) -> int:
        if not self._innermost:
            return number
        return sum(run_in_parallel([partial(square, number)] * self._innermost))

    def right(self, outcome: Any) -> bool:
        """The sum."""
        numbers = range(self._inner)
        inner = sum(self._innermost * n * n if self._innermost else n for n in numbers)
        return bool(outcome == self._outer * inner)


class Failing(Step):
    """A fan-out of which one task fails: its error comes out as itself."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, LONGEST)
        self._at = random.randrange(self.tasks)
        self._kind = random.randrange(len(ERRORS))
        self._group = random.random() < 0.5  # noqa: PLR2004 - a share

    def run(self) -> Any:
        """The name of the error."""
        tasks = [partial(square, n) for n in range(self.tasks)]
        tasks[self._at] = partial(fail, self._kind)
        try:
            if self._group:
                with current_executor().task_group() as group:
                    for task in tasks:
                        group.submit(task)
            else:
                run_in_parallel(tasks)
        except Exception as error:
            return type(error).__name__
        return "nothing"

    def right(self, outcome: Any) -> bool:
        """The very error."""
        return bool(outcome == ERRORS[self._kind].__name__)


class Mixed(Step):
    """A fan-out with errors in the places of results."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(2, LONGEST)
        self._kinds = [random.choice([None, random.randrange(len(ERRORS))]) for _ in self._range]

    @property
    def _range(self) -> range:
        return range(self.tasks)

    def run(self) -> Any:
        """Results, and names of errors."""
        results = run_in_parallel(
            [
                partial(square, n) if kind is None else partial(fail, kind)
                for n, kind in enumerate(self._kinds)
            ],
            return_exceptions=True,
        )
        return [type(r).__name__ if isinstance(r, Exception) else r for r in results]

    def right(self, outcome: Any) -> bool:
        """Each in its place."""
        return bool(
            outcome
            == [n * n if k is None else ERRORS[k].__name__ for n, k in enumerate(self._kinds)]
        )


class Futures(Step):
    """Futures, waited for in one of the ways that the standard library has."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, LONGEST)
        self._way = random.choice(["result", "wait", "as_completed", "map", "cancel"])
        self._seconds = random.choice([0, 0, 0.001])

    def run(self) -> Any:
        """The sum of the squares; of what was not cancelled, for `cancel`."""
        executor = current_executor()
        if self._way == "map":
            return sum(executor.map(square, range(self.tasks)))
        futures: list[Future[Any]] = [
            executor.submit(slow_square, n, self._seconds)
            if self._seconds and not n % 8
            else executor.submit(square, n)
            for n in range(self.tasks)
        ]
        if self._way == "wait":
            futures = list(wait(futures, timeout=60).done)
        elif self._way == "as_completed":
            futures = list(as_completed(futures, timeout=60))
        elif self._way == "cancel":
            gone = [n for n, future in enumerate(futures) if future.cancel()]
            return sum(self._or_cancelled(n, future) for n, future in enumerate(futures)) + sum(
                square(n) for n in gone
            )
        return sum(future.result() for future in futures)

    @staticmethod
    def _or_cancelled(_number: int, future: Any) -> int:
        try:
            return int(future.result())
        except TaskCancelled:
            return 0

    def right(self, outcome: Any) -> bool:
        """The sum."""
        return bool(outcome == sum(n * n for n in range(self.tasks)))


class Hurried(Step):
    """Tasks with a time limit that some cannot keep: some are abandoned, some never start."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, 8)
        self._seconds = random.choice([0.0, 0.0005, 0.002, 0.01])
        self._timeout = random.choice([0.0, 0.0005, 0.001, 0.005])
        self._way = random.choice(["run_in_parallel", "return_exceptions", "group"])

    def run(self) -> Any:
        """The results, with the word for what came too late in their places."""
        tasks = [partial(slow_square, n, self._seconds) for n in range(self.tasks)]
        try:
            if self._way == "group":
                with current_executor().task_group(timeout=self._timeout) as group:
                    futures = [group.submit(task) for task in tasks]
                return [future.result() for future in futures]
            results: list[Any] = run_in_parallel(
                tasks, timeout=self._timeout, return_exceptions=self._way == "return_exceptions"
            )
            return [LATE if isinstance(r, DeadlineExceeded) else r for r in results]
        except DeadlineExceeded:
            return [LATE] * self.tasks

    def right(self, outcome: Any) -> bool:
        """Each right, or late."""
        return len(outcome) == self.tasks and all(
            value in (n * n, LATE) for n, value in enumerate(outcome)
        )


class Background(Step):
    """Work that outlives its request; some of it fails."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, 4)
        self._seconds = random.choice([0.0, 0.001, 0.02])
        self._kind = random.randrange(len(ERRORS)) if random.random() < 0.2 else None  # noqa: PLR2004

    def run(self) -> Any:
        """Nothing."""
        executor = current_executor()
        counts.add("background submitted", self.tasks)
        for _ in range(self.tasks - 1):
            executor.background(in_background, self._seconds)
        if self._kind is None:
            executor.background(in_background, self._seconds)
        else:
            executor.background(fail_in_background, self._kind)

    def right(self, outcome: Any) -> bool:
        """Whether it was done is counted elsewhere."""
        return outcome is None


class Unread(Step):
    """Futures that nobody reads, of tasks that return, fail, or run when their request ends."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(2, 4)
        self._kind = random.randrange(len(ERRORS))
        self._seconds = random.choice([0.001, 0.01, 0.05])
        self._pause = random.choice([0.0, 0.0, 0.001])

    def run(self) -> Any:
        """Nothing."""
        executor = current_executor()
        executor.submit(fail_unread, self._kind)
        executor.submit(square, self._kind)
        for _ in range(self.tasks - 2):
            executor.submit(slow_square, 1, self._seconds)
        if self._pause:
            time.sleep(self._pause)

    def right(self, outcome: Any) -> bool:
        """Whether its failure was logged is counted elsewhere."""
        return outcome is None
