"""Line: which coroutines are under way on an event loop, and which wait until others have ended."""

from __future__ import annotations

from collections import OrderedDict, deque

from commonpool.task import FanOut, Owner
from commonpool.threadless import ThreadlessTask


class LoopTask(ThreadlessTask):
    """A task of an event loop."""

    def start(self) -> None:
        """Have it run, on the loop's thread. It calls `Line.leave` when it is done."""
        raise NotImplementedError


class Line:
    """The tasks of one event loop. No lock: it is used on the loop's thread alone.

    Guarantees:
        At most `max_coroutines` tasks are under way, besides one for each fan-out whose caller
        waits for it, and what was said not to wait.
        Owners take turns; within an owner, tasks come in their order.

    A caller that waits has one of its own, so that coroutines that wait for others, and these for
    their turn, never wait for each other.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._own: dict[FanOut, LoopTask] = {}  # of fan-outs, what is under way besides
        self._beside: set[LoopTask] = set()  # what did not have to wait
        self._waiting: OrderedDict[Owner, OrderedDict[FanOut, deque[LoopTask]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(tasks) for lines in self._waiting.values() for tasks in lines.values())

    def enter(self, task: LoopTask, *, at_once: bool = False) -> None:
        """Start a task, now or in its turn.

        Args:
            task: which.
            at_once: it must not wait.
        """
        fan_out = task.fan_out
        if self._has_room(task):
            self._under_way += 1
        elif at_once:
            self._beside.add(task)
        elif fan_out.has_caller and fan_out not in self._own:
            self._own[fan_out] = task
        else:
            lines = self._waiting.setdefault(fan_out.owner, OrderedDict())
            lines.setdefault(fan_out, deque()).append(task)
            return
        task.start()

    def hurry(self, task: LoopTask) -> None:
        """Start a task now, if it waits."""
        if self.take_out(task):
            self._beside.add(task)
            task.start()

    def take_out(self, task: LoopTask) -> bool:
        """Take a task out of the line; whether it was there."""
        tasks = self._waiting_of(task.fan_out)
        if tasks is None or task not in tasks:
            return False
        tasks.remove(task)
        self._forget_empty(task.fan_out)
        return True

    def leave(self, task: LoopTask) -> None:
        """A task that was started is done: start what may come in its place."""
        fan_out = task.fan_out
        if task in self._beside:
            self._beside.discard(task)
        elif self._own.get(fan_out) is task:
            del self._own[fan_out]
            if (tasks := self._waiting_of(fan_out)) is not None:
                following = self._own[fan_out] = tasks.popleft()
                self._forget_empty(fan_out)
                following.start()
        else:
            self._under_way -= 1
            self._start_next()

    def _start_next(self) -> None:
        while self._waiting:
            owner, lines = next(iter(self._waiting.items()))
            fan_out, tasks = next(iter(lines.items()))
            if not self._has_room(tasks[0]):
                return
            self._waiting.move_to_end(owner)
            task = tasks.popleft()
            self._forget_empty(fan_out)
            self._under_way += 1
            task.start()

    def _waiting_of(self, fan_out: FanOut) -> deque[LoopTask] | None:
        lines = self._waiting.get(fan_out.owner)
        return None if lines is None else lines.get(fan_out)

    def _has_room(self, task: LoopTask) -> bool:
        return self._under_way < task.fan_out.owner.pool.config.max_coroutines

    def _forget_empty(self, fan_out: FanOut) -> None:
        lines = self._waiting[fan_out.owner]
        if not lines[fan_out]:
            del lines[fan_out]
        if not lines:
            del self._waiting[fan_out.owner]
