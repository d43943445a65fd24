"""What is said of tasks: to those who hold their futures, and in the log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable

from commonpool.errors import CommonPoolError, TaskCancelled
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


def stack_of(task: Task, calls: dict[int, list[traceback.FrameSummary]]) -> str:
    """Where a task that a worker runs is, from its own function on.

    Args:
        task: which.
        calls: those of all threads, as from `stacks`.
    """
    thread = task.worker.thread if task.worker is not None else None
    frames = calls.get(thread.ident, []) if thread is not None and thread.ident is not None else []
    below = [
        index
        for index, entry in enumerate(frames)
        if entry.filename == Task.run.__code__.co_filename
    ]
    return "".join(traceback.format_list(frames[below[0] + 1 if below else 0 :])).rstrip()
