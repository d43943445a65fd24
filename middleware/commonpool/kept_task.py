"""KeptTask: the tasks of a fan-out that their caller keeps, and runs one after another as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commonpool.task import FanOut, Task, running

Keeper = Callable[[list[Any], FanOut, Any], "KeptTask | None"]

keepers: list[Keeper] = []
"""Asked in turn, with the things, their fan-out and the session that was given for them: for the
`KeptTask` that runs them all; `None` from who does not know all of them."""


class KeptTask(Task):
    """The tasks of a fan-out that their caller keeps, and runs one after another as one.

    For things that take so little time that a task for each would take more.

    Attributes:
        things: what to run.
        values: what those have returned that are done.
    """

    is_kept = True
    _late = False

    def __init__(self, things: list[Any], fan_out: FanOut) -> None:
        self.fan_out = fan_out
        self.values: list[Any] = []
        self.things = things

    @property
    def is_done(self) -> bool:
        """Whether all are done, and in time."""
        return len(self.values) == len(self.things) and not self._late

    @property
    def thing(self) -> Any:
        """What is run now."""
        return self.things[min(len(self.values), len(self.things) - 1)]

    def run_one(self, thing: Any) -> Any:
        """Run one of the things; what it returns."""
        raise NotImplementedError

    def explain(self, error: BaseException) -> None:
        """Add to an error what there is to be said."""

    def run_until(self, most: float, clock: Callable[[], float]) -> None:
        """Run them, until one fails, or takes more than so many seconds, or the deadline passes.

        What one raises is kept as the error.
        """
        outer, running.task = running.task, self
        self._most, self._clock = most, clock
        try:
            self.run_all()
        except BaseException as error:
            self.error = error
            self.explain(error)
        finally:
            running.task = outer
            del self  # the error's traceback holds this frame

    def run_all(self) -> None:
        """Run them, as far as it goes."""
        fan_out, done, run_one = self.fan_out, self.values.append, self.run_one
        context = fan_out.context
        deadline, most, clock = fan_out.deadline, self._most, self._clock
        begun = clock()
        try:
            for thing in self.things:
                done(context.copy().run(run_one, thing))
                now = clock()
                took, begun = now - begun, now
                if took > fan_out.second_longest:
                    fan_out.ran(took)
                    if took > most:
                        return
                if now >= deadline:
                    self._late = True
                    return
        finally:
            del self, done, run_one
