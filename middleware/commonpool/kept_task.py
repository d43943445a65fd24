"""KeptTask: the tasks of a fan-out that their caller keeps, and runs one after another as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import CoroutineType
from typing import Any

from commonpool.task import FEW, SETTLED, FanOut, Task, needs_event_loop, running

Keeper = Callable[[list[Any], FanOut, Any], "KeptTask | None"]

keepers: list[Keeper] = []
"""Asked in turn, with the things, their fan-out and the session that was given for them: for the
`KeptTask` that runs them all; `None` from who does not know all of them."""


class KeptTask(Task):
    """The tasks of a fan-out that their caller keeps, and runs one after another as one.

    For things that take so little time that a task for each would take more.

    Args:
        things: what to run.
        fan_out: theirs.

    Attributes:
        values: what those have returned that are done.
        handed_over: the tasks that workers were called for instead: the last of the things.
        seen: when a watcher has seen it first, and how many were done when it was seen last.
    """

    can_be_handed_over = False
    handed_over: Sequence[Task] = ()
    seen: tuple[float, int] | None = None
    _late = False

    def __init__(self, things: list[Any], fan_out: FanOut) -> None:
        self.fan_out = fan_out
        self.values: list[Any] = []
        self.things = things
        self._calls: Iterator[Callable[[], Any]] = iter(())

    def calls(self) -> Iterator[Callable[[], Any]]:
        """What is to be called for each thing. To take the next is one step of the interpreter's.

        So two threads may take from it, and none gets what another has.
        """
        raise NotImplementedError

    @property
    def is_done(self) -> bool:
        """Whether all are done, and in time."""
        return len(self.values) == len(self.things) and not self._late

    @property
    def thing(self) -> Any:
        """What is run now."""
        return self.things[min(len(self.values), len(self.things) - 1)]

    def tasks_of_rest(self) -> list[Task]:
        """What has not begun, as tasks of its fan-out."""
        raise NotImplementedError

    def take_rest(self) -> int:
        """Take what has not begun away from who runs them; how many that are."""
        return len(list(self._calls))

    def explain(self, error: BaseException) -> None:
        """Add to an error what there is to be said."""

    def run_until(self, most: float, clock: Callable[[], float]) -> None:
        """Run them, until one fails, or takes long, or the deadline passes, or no more are left.

        What one raises is kept as the error.

        Args:
            most: seconds. One takes long that takes more, and more than all before it together.
            clock: seconds, monotonic.
        """
        outer, running.task = running.task, self
        self._most, self._clock = most, clock
        self._calls = self.calls()
        try:
            self.run_all()
        except BaseException as error:
            self.error = error
            self.explain(error)
        finally:
            self.state = SETTLED
            running.task = outer
            del self  # the error's traceback holds this frame

    def run_all(self) -> None:
        """Run them, as far as it goes."""
        fan_out, done = self.fan_out, self.values.append
        context = fan_out.context
        deadline, most, clock = fan_out.deadline, self._most, self._clock
        longest = second_longest = 0.0
        first = begun = clock()
        try:
            for call in self._calls:
                value = context.copy().run(call)
                if type(value) is CoroutineType:
                    value.close()
                    raise TypeError(needs_event_loop(self.thing))
                done(value)
                now = clock()
                took = now - begun
                if took > second_longest:
                    second_longest, longest = sorted((longest, took))
                    if took > most and took > begun - first:
                        return
                begun = now
                if now >= deadline:
                    self._late = True
                    return
        finally:
            if len(self.values) > FEW:
                second_longest = (begun - first - longest) / (len(self.values) - 1)
            fan_out.times += (longest, second_longest)
            del self, done, fan_out  # an error's traceback holds this frame
