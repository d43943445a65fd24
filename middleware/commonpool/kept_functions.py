"""KeptFunctions: short functions that their caller calls one after another, as one task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from types import FunctionType
from typing import Any

from commonpool.adapters import ASYNC, as_task, of_function
from commonpool.kept_task import KeptTask, keepers
from commonpool.task import FanOut, Task, describe, explainers

_FUNCTIONS = {FunctionType}


class KeptFunctions(KeptTask):
    """Functions that are called one after another. Workers can take over what has not begun."""

    can_be_handed_over = True

    def calls(self) -> Iterator[Callable[[], Any]]:
        """Each, in what the callables of its fan-out run in."""
        runner = self.fan_out.runner
        return iter(self.things) if runner is None else map(partial, repeat(runner), self.things)

    @property
    def name(self) -> str:
        """That of what is called now."""
        return describe(self.thing)

    def tasks_of_rest(self) -> list[Task]:
        """What has not begun, as tasks of its fan-out."""
        tasks = [of_function(fn) for fn in self.things[len(self.values) :]]
        for task in tasks:
            task.fan_out = self.fan_out
        return tasks

    def explain(self, error: BaseException) -> None:
        """As for every task."""
        for explain in explainers:
            explain(self, error)


def keep_functions(things: list[Any], fan_out: FanOut) -> KeptFunctions | None:
    """What calls things one after another, if all are functions written in Python: most are."""
    if set(map(type, things)) != _FUNCTIONS:
        return None
    for thing in set(things):
        if thing.__code__.co_flags & ASYNC:
            return None
    return KeptFunctions(things, fan_out)


def keep_callables(things: list[Any], fan_out: FanOut, _session: Any) -> KeptFunctions | None:
    """What calls things one after another, if that is all there is to be done with each."""
    functions = []
    for thing in things:
        try:
            task = as_task(thing)
        except TypeError:  # there is more to be said of it where each is a task
            return None
        if type(task) is not Task:
            return None
        functions.append(task.fn)
    return KeptFunctions(functions, fan_out)


keepers.append(keep_callables)
