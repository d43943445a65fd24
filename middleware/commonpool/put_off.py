"""PutOff: tasks for which workers have found no share of a budget, and whose turn it is for one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice

from commonpool.budget import Budget
from commonpool.task import FanOut, Task


class PutOff:
    """Tasks that are left to their callers until there is a share of their budget again.

    Guarantees:
        Fan-outs take turns for the shares of a budget.

    No lock: whoever uses it holds the pool's.
    """

    def __init__(self) -> None:
        self._lines: dict[Budget, OrderedDict[FanOut, None]] = {}

    def __contains__(self, budget: Budget) -> bool:
        """Whether tasks wait for a share of a budget."""
        return budget in self._lines

    def add(self, fan_out: FanOut, budget: Budget, tasks: Iterable[Task]) -> None:
        """Put tasks of a fan-out off, for want of a share of a budget."""
        if fan_out.held is None:
            fan_out.held = deque()
        fan_out.held.extend(tasks)
        self._lines.setdefault(budget, OrderedDict())[fan_out] = None

    def take(self, fan_out: FanOut) -> Task | None:
        """Take a fan-out's first task out, for its caller, if it has any here."""
        if not fan_out.held:
            return None
        task = fan_out.held.popleft()
        if not fan_out.held:
            for budget in list(self._lines):
                self._forget(fan_out, budget)
        return task

    def take_all(self, fan_out: FanOut) -> list[Task]:
        """Take all tasks of a fan-out out."""
        tasks = []
        while (task := self.take(fan_out)) is not None:
            tasks.append(task)
        return tasks

    def next(self, budget: Budget) -> Task | None:
        """Take the task out whose turn it is, now that there is a share of its budget."""
        while budget in self._lines:
            fan_out = next(iter(self._lines[budget]))
            self._forget(fan_out, budget)
            held = fan_out.held or ()
            waiting = list(islice((task for task in held if task.budget is budget), 2))
            if len(waiting) > 1:  # behind the others
                self._lines.setdefault(budget, OrderedDict())[fan_out] = None
            if waiting and fan_out.held:
                fan_out.held.remove(waiting[0])
                return waiting[0]
        return None

    def _forget(self, fan_out: FanOut, budget: Budget) -> None:
        line = self._lines[budget]
        line.pop(fan_out, None)
        if not line:
            del self._lines[budget]
