"""What is said of tasks: to those who hold their futures, and in the log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable

from commonpool.errors import CommonPoolError, TaskCancelled
from commonpool.stacks import stacks
from commonpool.task import CANCELLED, Task

# An error names no more running tasks than this.
MOST_NAMES = 3

log = logging.getLogger("commonpool")


def announce(tasks: Iterable[Task], kind: type[CommonPoolError], message: str) -> None:
    """Tell those who hold the futures of tasks that no result will come."""
    for task in tasks:
        future = task.future
        if future is None:
            continue
        try:
            if kind is TaskCancelled and task.state is CANCELLED:
                future.set_cancelled(message)
            else:
                future.give_up(kind(message))
        except BaseException:  # out of a done callback: the others have to be told all the same
            log.exception("a done callback of %s raised", task.name)


class Ending:
    """Why a fan-out was ended before all was done.

    Guarantees:
        Its error names the tasks that were running, whoever asks for it first.

    Args:
        kind: of the error.
        message: what happened, with the numbers.
        running: the fan-out's tasks that were running.
    """

    __slots__ = ("_error", "_kind", "_message", "_running")

    def __init__(self, kind: type[CommonPoolError], message: str, running: Iterable[Task]) -> None:
        self._kind = kind
        self._message = message
        self._running = tuple(running)
        self._error: CommonPoolError | None = None

    @property
    def error(self) -> CommonPoolError:
        """What to raise.

        Made when it is asked for: it is decided under the pool's lock that the fan-out ends, and
        the names of tasks are asked for outside it. Two threads that ask at once may each get one.
        """
        running = self._running  # before the error: that is there when they are let go of
        error = self._error
        if error is None:
            error = self._error = self._kind(self._message + names_of(running))
            self._running = ()  # they lead back here
        return error


def names_of(running: tuple[Task, ...]) -> str:
    """What an error says of tasks that were running."""
    if not running:
        return ""
    more = len(running) - MOST_NAMES
    names = "; ".join(doing(task) for task in running[:MOST_NAMES])
    return f" Running: {names}" + (f"; and {more} more" if more > 0 else "")


def announce_all(tasks: Iterable[Task], kind: type[CommonPoolError]) -> None:
    """Tell those who hold the futures of tasks why their fan-outs were ended."""
    for task in tasks:
        ending = task.fan_out.ending
        assert ending is not None  # noqa: S101 - that is why their tasks are told of
        announce([task], kind, str(ending.error))


def doing(task: Task) -> str:
    """A running task by name, and what it waits for, where that is known."""
    stopper = task.stopper
    return task.name if stopper is None else f"{task.name}, in {stopper}"


def told(task: Task, now: float) -> str:
    """A running task by name and age."""
    return f"{doing(task)} (running for {now - task.started_at:.1f} s on {task.where})"


def stacks_of(tasks: Iterable[Task]) -> dict[Task, str]:
    """Where tasks that workers run are, each from its own function on."""
    threads = {task: ident_of(task) for task in tasks}
    calls = stacks(set(threads.values())) if threads else {}
    return {task: from_its_function(calls.get(ident, [])) for task, ident in threads.items()}


def ident_of(task: Task) -> int:
    """The thread of the worker that runs a task; 0 where there is none."""
    thread = task.worker.thread if task.worker is not None else None
    return (thread.ident or 0) if thread is not None else 0


def from_its_function(calls: list[traceback.FrameSummary]) -> str:
    """The calls of a thread that runs a task, without what led to the task's own function."""
    below = [
        index for index, call in enumerate(calls) if call.filename == Task.run.__code__.co_filename
    ]
    return "".join(traceback.format_list(calls[below[0] + 1 if below else 0 :])).rstrip()
