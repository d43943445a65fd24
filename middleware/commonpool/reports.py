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


def announce_all(tasks: Iterable[Task], kind: type[CommonPoolError]) -> None:
    """Tell those who hold the futures of tasks why their fan-outs were ended."""
    for task in tasks:
        announce([task], kind, str(task.fan_out.ending))


def name_running(tasks: Iterable[Task]) -> None:
    """Have the errors of ended fan-outs say which of their tasks were running."""
    names: dict[Exception, list[str]] = {}
    for task in tasks:
        ending = task.fan_out.ending
        if ending is not None:
            names.setdefault(ending, []).append(doing(task))
    for ending, running in names.items():
        more = len(running) - MOST_NAMES
        told = "; ".join(running[:MOST_NAMES]) + (f"; and {more} more" if more > 0 else "")
        ending.args = (f"{ending} Running: {told}",)


def doing(task: Task) -> str:
    """A running task by name, and what it waits for, where that is known."""
    stopper = task.stopper
    return task.name if stopper is None else f"{task.name}, in {stopper}"


def told(task: Task, now: float) -> str:
    """A running task by name and age."""
    where = task.worker.name if task.worker is not None else "a thread that waits for it"
    return f"{doing(task)} (running for {now - task.started_at:.1f} s on {where})"


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
