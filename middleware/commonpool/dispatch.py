"""What the pool decides under its lock: who runs which task. Nothing here acts."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from commonpool.budget import Budget
from commonpool.config import PoolConfig
from commonpool.crew import Crew, Worker
from commonpool.demand import Demand
from commonpool.errors import CommonPoolError, DeadlineExceeded
from commonpool.fair_queue import FairQueue
from commonpool.kept_task import KeptTask
from commonpool.pace import LOOK_AGAIN, Pace
from commonpool.put_off import PutOff
from commonpool.reports import Ending
from commonpool.stats import PoolStats
from commonpool.task import (
    ABANDONED,
    CANCELLED,
    RUNNING,
    SETTLED,
    UNSTARTED,
    FanOut,
    Latch,
    Owner,
    State,
    Task,
    running,
)

# From how many seconds on an error says by how much a deadline was missed.
LATE = 0.1


class Route(Enum):
    """Where a newly submitted task goes."""

    TO_WORKER = "a worker of its own"
    TO_QUEUE = "the queue"
    TO_CALLER = "the thread that submits it"
    THREADLESS = "what runs it without a thread"
    REJECTED = "nowhere: there is no room"
    CANCELLED = "nowhere: its group has ended"


class Dispatch:
    """The queue, the workers and the counts, behind one lock.

    Guarantees:
        Every public method takes the lock once, decides, and returns what is to be done after.
        While it is held, nothing blocks, no code of a user runs, and no thread is woken but, once
        in the pool's life, the one that closes it.
        A task is claimed once, and settled once.

    Args:
        config: the sizes.
        work: what a worker's thread runs.
        clock: seconds, monotonic.
    """

    def __init__(
        self, config: PoolConfig, work: Callable[[Worker], None], clock: Callable[[], float]
    ) -> None:
        self.closing = False
        self._guard = threading.Lock()
        self._clock = clock
        self._rejecting = config.overflow == "reject"
        self.queue = FairQueue(
            capacity=config.waiting_places,
            share=config.max_workers_per_request or config.max_workers,
            demand=Demand(config.max_workers, clock),
        )
        self._crew = Crew(config.max_workers, work, clock)
        self._put_off = PutOff()
        self.pace = Pace()
        self._drained: threading.Lock | None = None
        self._closer: threading.Thread | None = None
        # What threads run that wait for it and closing waits for too; by their numbers.
        self._claimed: dict[Task, int] = {}
        self._threadless: dict[Task, None] = {}  # what runs without a thread
        self._none_threadless: threading.Lock | None = None  # released when nothing does any more
        self._abandoned = 0
        self._run_by_workers = 0
        self._run_by_callers = 0
        self._rejected = 0
        self._cancelled = 0
        self._failed = 0

    # Admission

    def route(self, task: Task) -> tuple[Route, Worker | None]:  # noqa: PLR0911 - one for each way
        """Where a new task goes, and which worker to rouse for it."""
        fan_out = task.fan_out
        owner = fan_out.owner
        in_task = running.task is not None
        with self._guard:
            self._check_time(fan_out)
            if fan_out.failure is not None or fan_out.ending is not None:
                task.state = CANCELLED
                self._cancelled += 1
                return Route.CANCELLED, None
            if self.closing or owner.ended or self._abandoned >= self._crew.most:
                return self._to_caller(task), None
            if in_task or fan_out.patient:
                worker = self._promise(task)
                if worker is not None:
                    return Route.TO_WORKER, worker
                if in_task:
                    return self._to_caller(task), None
            fan_out.unstarted.append(task)
            self.queue.enter(fan_out)
            if fan_out.places or (fan_out.has_caller and (owner.queued or not self._rejecting)):
                owner.fan_outs[fan_out] = None
                return Route.TO_QUEUE, self._summon()
            self.queue.claim(task)
            if self._rejecting:
                self._rejected += 1
                return Route.REJECTED, None
            return self._to_caller(task), None

    def admit(self, fan_out: FanOut) -> tuple[Task | None, int, list[Worker]]:
        """Queue a fan-out's unstarted tasks, or as many as there is room for.

        Returns:
            The task that is the caller's own, how many were refused, which workers to rouse.
        """
        owner = fan_out.owner
        roused: list[Worker] = []
        with self._guard:
            self._check_time(fan_out)
            if fan_out.ending is not None:  # since it was made: its request ended, say
                return None, 0, roused
            mine = None if fan_out.patient else fan_out.unstarted.popleft()
            if fan_out.unstarted and not (self.closing or owner.ended):
                owner.fan_outs[fan_out] = None
                while fan_out.patient and fan_out.unstarted:
                    worker = self._promise(fan_out.unstarted[0])
                    if worker is None:
                        break
                    fan_out.unstarted.popleft()
                    roused.append(worker)
                self.queue.enter(fan_out)
                if self._rejecting and not (fan_out.places or fan_out.at_workers or owner.queued):
                    del owner.fan_outs[fan_out]
                    refused = len(self.queue.withdraw(fan_out)) + (mine is not None)
                    self._rejected += refused
                    return None, refused, roused
                worker = self._summon()
                if worker is not None:
                    roused.append(worker)
            if mine is not None:
                self._to_caller(mine)
            return mine, 0, roused

    def add(
        self, fan_out: FanOut, tasks: list[Task], *, in_line: bool = False
    ) -> tuple[int, list[Worker]]:
        """Add new tasks to a fan-out that has a caller.

        Args:
            fan_out: whose.
            tasks: they.
            in_line: whether there is no share for the one task, so that no worker is to look for
                one, as long as others wait for that.

        Returns:
            How many were refused, which workers to rouse.
        """
        owner = fan_out.owner
        roused: list[Worker] = []
        with self._guard:
            self._check_time(fan_out)
            if fan_out.failure is not None or fan_out.ending is not None:
                for task in tasks:
                    task.state = CANCELLED
                self._cancelled += len(tasks)
                return 0, roused
            budget = tasks[0].budget if in_line else None
            if budget is not None and budget in self._put_off and not self.closing:
                owner.fan_outs[fan_out] = None
                self.queue.want(owner, 1)
                self._put_off.add(fan_out, budget, tasks)
                return 0, roused
            waiting = deque(tasks)
            if fan_out.patient:
                while waiting and (worker := self._promise(waiting[0])) is not None:
                    waiting.popleft()
                    roused.append(worker)
            fan_out.unstarted.extend(waiting)
            if not waiting or self.closing or owner.ended:
                return 0, roused
            owner.fan_outs[fan_out] = None
            self.queue.enter(fan_out)
            if self._rejecting and not (fan_out.places or fan_out.at_workers or owner.queued):
                self._forget_if_done(fan_out)
                refused = len(self.queue.withdraw(fan_out))
                self._rejected += refused
                return refused, roused
            worker = self._summon()
            if worker is not None:
                roused.append(worker)
            return 0, roused

    def keep(self, kept: KeptTask) -> Worker | None:
        """Tasks are left to their caller: which worker to wake, to see how long it takes.

        Raises:
            DeadlineExceeded: the deadline of their fan-out has passed.
        """
        now, deadline = self._clock(), kept.fan_out.deadline
        look = now - self.pace.looked_at >= LOOK_AGAIN
        with self._guard:
            if now >= deadline:
                self._check_time(kept.fan_out)
            self._run_by_callers += len(kept.things)
            return self._crew.idle.pop() if look and self._crew.idle else None

    def hand_over(self, kept: KeptTask, tasks: list[Task]) -> Worker | None:
        """Queue what a caller has kept and not begun: which worker to rouse.

        Args:
            kept: that.
            tasks: it; the first of them the caller may have begun by now.
        """
        fan_out = kept.fan_out
        with self._guard:
            left = kept.take_rest()
            if not left:
                return None
            kept.handed_over = tasks[-left:]
            self._run_by_callers -= left
            fan_out.unstarted.extend(kept.handed_over)
            if self.closing or fan_out.owner.ended:
                return None
            fan_out.owner.fan_outs[fan_out] = None
            self.queue.enter(fan_out)
            return self._summon()

    def end_keeping(self, kept: KeptTask) -> None:
        """A caller goes no further in what it kept, and nobody else does from here on."""
        with self._guard:
            kept.take_rest()

    def give_back(self, tasks: list[Task], *, cancelled: bool) -> None:
        """Their caller has not run these of the tasks that were left to it."""
        with self._guard:
            self._run_by_callers -= len(tasks)
            if cancelled:
                self._cancelled += len(tasks)
                for task in tasks:
                    task.state = CANCELLED

    def claim_new(self, task: Task) -> None:
        """Claim a new task, that is in no queue, for its caller."""
        with self._guard:
            self._to_caller(task)

    def _check_time(self, fan_out: FanOut) -> None:
        """Raise `DeadlineExceeded` for what comes too late.

        Under the lock: what is in time here is registered before the watcher can look for it.
        """
        if fan_out.deadline != math.inf and self._clock() >= fan_out.deadline:
            late = passed(self._clock() - fan_out.deadline)
            raise DeadlineExceeded(f"{late} Nothing was started ({self._load()}).")

    def _to_caller(self, task: Task) -> Route:
        task.state = RUNNING
        self._run_by_callers += 1
        return Route.TO_CALLER

    def promise(self, task: Task) -> Worker | None:
        """Give a new task a worker to itself, which is to be roused, if one is free."""
        with self._guard:
            return self._promise(task)

    def _promise(self, task: Task) -> Worker | None:
        """Give a task a worker to itself, if one is free and its owner may have it."""
        fan_out = task.fan_out
        if self.closing or not self.queue.may_start(fan_out.owner):
            return None
        worker = self._crew.free()
        if worker is not None:
            worker.task = task
            task.worker = worker
            fan_out.at_workers += 1
            fan_out.owner.fan_outs[fan_out] = None
            self.queue.start(task)
        return worker

    def _unpromise(self, task: Task, worker: Worker) -> None:
        worker.task = task.worker = None
        task.fan_out.at_workers -= 1
        self.queue.finish(task)

    def _summon(self) -> Worker | None:
        self.queue.fed = False
        return self._crew.summon() if self.queue.ready else None

    def summon(self) -> Worker | None:
        """A worker to rouse, if there is something in the queue for one and none is on its way."""
        with self._guard:
            return self._summon()

    def not_started(self, worker: Worker) -> None:
        """A worker's thread could not be started: what it was promised is unstarted as before."""
        with self._guard:
            self._crew.leave(worker)
            task = worker.task
            if task is not None:
                self._unpromise(task, worker)
                task.fan_out.unstarted.appendleft(task)
                self.queue.enter(task.fan_out, again=True)

    def next_orphan(self) -> Task | None:
        """With no living worker left: the next task in the queue, claimed for this thread."""
        with self._guard:
            task = None if self._crew.members else self.queue.take()
            if task is not None:
                self.queue.finish(task)
                self._to_caller(task)
                self._note_drained()
                self._forget_if_done(task.fan_out)
            return task

    def lost(self, worker: Worker) -> tuple[list[Task], list[Latch]]:
        """A worker's thread has ended by an error that is not its task's.

        Returns:
            The task that it leaves behind, if any, and which latches to release.
        """
        cancelled: list[Task] = []
        latches: list[Latch] = []
        with self._guard:
            task = worker.task
            if task is not None and task.state is UNSTARTED:
                self._unpromise(task, worker)
                task.fan_out.unstarted.appendleft(task)
                self.queue.enter(task.fan_out, again=True)
                task = None
            elif task is not None:
                self._leave(worker, task, cancelled, latches)
            if worker in self._crew.members:
                self._crew.leave(worker)
            return ([] if task is None else [task, *cancelled]), latches

    def take_back(self, task: Task) -> bool:
        """Claim a task for its caller after all, unless a living worker will come to it."""
        with self._guard:
            live = len(self._crew.members) > self._abandoned
            if task.state is not UNSTARTED or (live and running.task is None):
                return False
            self._claim(task)
            return True

    # Claims of callers

    def next_or_latch(
        self, fan_out: FanOut, until: Task | None = None
    ) -> tuple[Task | None, threading.Lock | None, Worker | None]:
        """The caller's next task; or a latch to sleep on; or neither, when all is settled.

        And which worker to rouse, where a place has become free for somebody else.

        Args:
            fan_out: what the caller waits for.
            until: the one task of it that the caller waits for, for now.
        """
        with self._guard:
            if until is not None:
                if fan_out.hurry or (until.state is not UNSTARTED and until.state is not RUNNING):
                    return None, None, None
                until.awaited = True
                if until.state is RUNNING and fan_out.unstarted and not fan_out.held:
                    # What follows on `until` would have to wait while this thread helps: it does
                    # so only where no worker comes for the rest.
                    worker = self._summon()
                    if worker is not None or self._crew.expecting:
                        return None, self._latch(fan_out), worker
            task = self._put_off.take(fan_out) if fan_out.held else None
            if task is None:
                task = self.queue.claim_next(fan_out)
            if task is None and fan_out.at_workers and not fan_out.patient:
                task = self._take_unclaimed(fan_out)
            if task is not None:
                task.state = RUNNING
                self._run_by_callers += 1
                self._note_drained()
                return task, None, self._summon() if self.queue.fed else None
            if fan_out.at_workers and fan_out.ending is None:
                return None, self._latch(fan_out), None
            self._forget_if_done(fan_out)
            return None, None, None

    @staticmethod
    def _latch(fan_out: FanOut) -> threading.Lock:
        """A latch that is released when a caller of a fan-out has to be woken."""
        latch = threading.Lock()
        latch.acquire()
        fan_out.sleepers = [*(fan_out.sleepers or ()), latch]
        return latch

    def _take_unclaimed(self, fan_out: FanOut) -> Task | None:
        """Take a task from a worker that still waits for the task's share of its budget."""
        for task in fan_out.owner.at_workers:
            if (
                task.fan_out is fan_out
                and task.state is UNSTARTED
                and task.budget is not None
                and task.worker is not None
                and task.worker.securing
            ):
                self._unpromise(task, task.worker)
                return task
        return None

    def claim(self, task: Task) -> bool:
        """Claim an unstarted task for this thread; whether that was possible."""
        with self._guard:
            if task.state is not UNSTARTED:
                return False
            self._claim(task)
            return True

    def brought(self, task: Task) -> list[Latch]:
        """The caller that claimed a task has settled it: which latches to release."""
        with self._guard:
            task.fan_out.at_workers -= 1
            self._forget_if_done(task.fan_out)
            if self._claimed.pop(task, None) is not None:
                self._note_drained()
            return self._sleepers(task.fan_out)

    def claim_or_promise(self, task: Task) -> tuple[bool, Worker | None]:
        """Have a free worker start an unstarted task, or else claim it for this thread.

        Returns:
            Whether it was claimed, and which worker to rouse.
        """
        with self._guard:
            if task.state is not UNSTARTED or task.worker is not None:
                return False, None
            # the one place is this task's, and a worker is on its way to it
            if self.queue.queued == 1 and self.queue.ready and self._crew.expecting:
                return False, None
            worker = self._promise(task)
            if worker is None:
                self._claim(task)
            else:
                self.queue.claim(task)
            return worker is None, worker

    def _claim(self, task: Task) -> None:
        """Claim an unstarted task for this thread, which is to say when it is settled."""
        task.fan_out.at_workers += 1
        if task.fan_out.owner.lasting:
            self._claimed[task] = threading.get_ident()
            task.started_at = self._clock()
        self._take_out(task)
        self._to_caller(task)

    def _take_out(self, task: Task) -> None:
        """Take an unstarted task from the queue, or from the worker that it was promised."""
        if task.worker is not None:
            self._unpromise(task, task.worker)
        else:
            self.queue.claim(task)
        self._note_drained()

    def _forget_if_done(self, fan_out: FanOut) -> None:
        if not (fan_out.at_workers or fan_out.unstarted or fan_out.held):
            fan_out.owner.fan_outs.pop(fan_out, None)

    def failed_here(self, task: Task) -> list[Task]:
        """A task that its caller ran has failed: which of its siblings that cancels."""
        with self._guard:
            return self._count_failure(task)

    # Turns of workers

    def turn(
        self, worker: Worker, done: Task | None
    ) -> tuple[Task | None, bool, Worker | None, list[Task], list[Latch]]:
        """A worker is done with a task, if any, and asks for the next.

        Returns:
            The next task; whether the worker stays; which worker to rouse; which tasks the one
            that is done has cancelled; which latches to release.
        """
        cancelled: list[Task] = []
        latches: list[Latch] = []
        with self._guard:
            if done is not None:
                self._leave(worker, done, cancelled, latches)
                if worker.readmits is not None:
                    self._readmit(worker.readmits)
                    worker.readmits = None
            self._crew.arrived(worker)
            if worker.roused_at:
                now = self._clock()
                self.pace.arrived(now - worker.roused_at, now)
                worker.roused_at = 0.0
            task = worker.task or self._take_for(worker)
            if task is not None:
                if task.budget is None:
                    self._start(task)
                else:  # it stays unclaimed until the worker has its share of that
                    worker.securing = True
            elif self.closing:
                self._crew.leave(worker)
            else:
                self._crew.rest(worker)
            staying = task is not None or not self.closing
            return task, staying, self._summon(), cancelled, latches

    def _take_for(self, worker: Worker) -> Task | None:
        task = self.queue.take()
        if task is not None:
            worker.task = task
            task.worker = worker
            task.fan_out.at_workers += 1
        return task

    def _start(self, task: Task) -> None:
        task.state = RUNNING
        task.started_at = self._clock()
        self._run_by_workers += 1

    def start(self, worker: Worker, task: Task) -> bool:
        """Claim a task, whose share is secured, for a worker; whether nobody was quicker."""
        with self._guard:
            worker.securing = False
            if worker.task is not task:
                return False
            self._start(task)
            return True

    def put_off(self, worker: Worker, task: Task) -> list[Latch]:
        """A worker found no share for a task, which is left to its caller until there is one.

        So are all of its fan-out that need the same. Returns which latches to release.
        """
        with self._guard:
            worker.securing = False
            if worker.task is not task:
                return []
            self._unpromise(task, worker)
            fan_out, budget = task.fan_out, task.budget
            assert budget is not None  # noqa: S101 - that is what it found no share of
            tasks = [task]
            if fan_out.unstarted:
                tasks += self.queue.take_out(fan_out, lambda other: other.budget is budget)
            self._put_off.add(fan_out, budget, tasks)
            self._note_drained()
            latches, fan_out.sleepers = fan_out.sleepers or [], None
            return latches

    def has_put_off(self, budget: Budget) -> bool:
        """Whether tasks wait for a share of a budget."""
        return budget in self._put_off

    def readmit(self, budget: Budget, *, wait: bool) -> Worker | None:
        """There is a share of a budget again: which worker to rouse.

        Args:
            budget: whose.
            wait: for the lock; else nothing is done while it is held.
        """
        if not self._guard.acquire(blocking=wait):
            return None
        try:
            self._readmit(budget)
            return self._summon()
        finally:
            self._guard.release()

    def _readmit(self, budget: Budget) -> None:
        """Put one of the tasks that wait for a share back into the queue; fan-outs take turns."""
        task = None if self.closing else self._put_off.next(budget)
        if task is not None:
            task.fan_out.unstarted.appendleft(task)
            self.queue.enter(task.fan_out, again=True)

    def _leave(
        self, worker: Worker, task: Task, cancelled: list[Task], latches: list[Latch]
    ) -> None:
        fan_out = task.fan_out
        worker.task = None
        self.queue.finish(task)
        if task.state is ABANDONED:
            self._abandoned -= 1
        else:
            task.state = SETTLED
            fan_out.at_workers -= 1
            fan_out.times.append(self._clock() - task.started_at)
            if task.error is not None:
                cancelled += self._count_failure(task)
            latches += self._sleepers(fan_out, at_once=task.awaited or fan_out.hurry)
            self._forget_if_done(fan_out)
        self._note_drained()

    def settle(self, task: Task, state: State = SETTLED) -> bool:
        """Whether what has come of a task is still wanted; from now on it is not abandoned."""
        with self._guard:
            if task.state is ABANDONED:
                return False
            task.state = state
            return True

    # What runs without a thread

    def begin_threadless(self, fan_out: FanOut, tasks: Sequence[Task], *, can_begin: bool) -> Route:
        """Where new tasks of a fan-out go that need no thread.

        Args:
            fan_out: theirs.
            tasks: they.
            can_begin: whether there is something that runs them.
        """
        with self._guard:
            self._check_time(fan_out)
            if fan_out.failure is not None or fan_out.ending is not None:
                self._cancelled += len(tasks)
                for task in tasks:
                    task.state = CANCELLED
                return Route.CANCELLED
            if self.closing or fan_out.owner.ended or not can_begin:
                return Route.TO_CALLER
            now = self._clock()
            for task in tasks:
                task.state = RUNNING
                task.started_at = now
            fan_out.at_workers += len(tasks)
            if fan_out.threadless is None:
                fan_out.threadless = {}
            fan_out.threadless |= dict.fromkeys(tasks)
            self._threadless |= dict.fromkeys(tasks)
            fan_out.owner.fan_outs[fan_out] = None
            return Route.THREADLESS

    def leave_threadless(self, task: Task) -> tuple[list[Task], list[Latch]]:
        """A task that needed no thread is done.

        Returns:
            Which tasks its failure has cancelled, and which latches to release.
        """
        fan_out = task.fan_out
        with self._guard:
            del self._threadless[task]
            if fan_out.threadless is not None:
                fan_out.threadless.pop(task, None)
            if self._none_threadless is not None and not self._threadless:
                self._none_threadless.release()
                self._none_threadless = None
            self._note_drained()
            if task.state is ABANDONED:
                return [], []
            fan_out.at_workers -= 1
            cancelled: list[Task] = []
            if task.state is CANCELLED:
                self._cancelled += 1
            elif task.error is not None:
                cancelled = self._count_failure(task)
            latches = self._sleepers(fan_out, at_once=task.awaited or fan_out.hurry)
            self._forget_if_done(fan_out)
            return cancelled, latches

    def stop_threadless(self, task: Task) -> tuple[bool, list[Latch]]:
        """Give up a task that runs without a thread: whether that was so, and whom to wake."""
        with self._guard:
            if task.state is not RUNNING:
                return False, []
            task.state = ABANDONED
            task.fan_out.at_workers -= 1
            self._cancelled += 1
            self._note_drained()
            latches = self._sleepers(task.fan_out, at_once=task.awaited)
            self._forget_if_done(task.fan_out)
            return True, latches

    def when_none_is_threadless(self) -> threading.Lock | None:
        """A latch that is released when nothing runs without a thread any more; `None` if so."""
        with self._guard:
            if self._threadless:
                self._none_threadless = threading.Lock()
                self._none_threadless.acquire()
            return self._none_threadless

    def lend(self, fan_out: FanOut, helper: FanOut) -> list[Latch]:
        """Have the callers of another fan-out help with this one: which latches to release."""
        with self._guard:
            helper.lent = [lent for lent in helper.lent or () if lent.unstarted] + [fan_out]
            sleepers, helper.sleepers = helper.sleepers or [], None
            return sleepers

    def claim_lent(self, helper: FanOut) -> Task | None:
        """The next unstarted task of the fan-outs with which callers of this one help."""
        with self._guard:
            while helper.lent:
                task = self._claim_first(helper.lent[0])
                if task is not None:
                    return task
                helper.lent.pop(0)
            return None

    def claim_first(self, fan_out: FanOut) -> Task | None:
        """Claim the first of a fan-out's unstarted tasks for this thread, if there is one."""
        with self._guard:
            return self._claim_first(fan_out)

    def _claim_first(self, fan_out: FanOut) -> Task | None:
        if not fan_out.unstarted:
            return None
        task = fan_out.unstarted[0]
        self._claim(task)
        return task

    @property
    def has_workers(self) -> bool:
        """Whether there are, or may be, workers that are not abandoned."""
        return self._abandoned < self._crew.most

    def latch_threadless(self, fan_out: FanOut, latch: Latch) -> bool:
        """Have a latch released when a caller of a fan-out, who does not help, has to look again.

        Returns:
            Whether there is anything to wait for; else the latch is not taken.
        """
        with self._guard:
            if fan_out.ending is not None or not (
                fan_out.at_workers or fan_out.unstarted or fan_out.held
            ):
                self._forget_if_done(fan_out)
                return False
            fan_out.sleepers = [*(fan_out.sleepers or ()), latch]
            return True

    def _count_failure(self, task: Task) -> list[Task]:
        self._failed += 1
        fan_out = task.fan_out
        if not fan_out.stops_on_failure or fan_out.failure is not None or fan_out.ending:
            return []
        fan_out.failure = task
        return self._cancel_unstarted(fan_out)

    @staticmethod
    def _sleepers(fan_out: FanOut, *, at_once: bool = False) -> list[Latch]:
        """Whom to wake, now that tasks of a fan-out have left their workers.

        Args:
            fan_out: whose callers may sleep.
            at_once: even while others of its tasks are at workers.
        """
        if not fan_out.sleepers or (fan_out.at_workers and not at_once):
            return []
        sleepers, fan_out.sleepers = fan_out.sleepers, None
        return sleepers

    # Ending

    def cancel(self, task: Task) -> tuple[bool, list[Latch]]:
        """Take an unstarted task back: whether that was possible, and which latches to release."""
        with self._guard:
            if task.state is not UNSTARTED:
                return False, []
            self._take_out(task)
            task.state = CANCELLED
            self._cancelled += 1
            self._forget_if_done(task.fan_out)
            return True, self._sleepers(task.fan_out)

    def end(
        self, fan_outs: Iterable[FanOut], kind: type[CommonPoolError], message: str
    ) -> tuple[list[Task], list[Task], list[Latch]]:
        """Cancel what is unstarted, abandon what is started.

        Returns:
            The tasks cancelled, the tasks abandoned, the latches to release.
        """
        cancelled: list[Task] = []
        abandoned: list[Task] = []
        latches: list[Latch] = []
        with self._guard:
            for fan_out in list(fan_outs):
                if fan_out.ending is not None:
                    continue
                unstarted = self._cancel_unstarted(fan_out)
                started = self._abandon(fan_out)
                fan_out.ending = Ending(
                    kind,
                    f"{message} {len(started)} of its tasks were running and are abandoned, "
                    f"{len(unstarted)} had not started and are cancelled ({self._load()}).",
                    started,
                )
                cancelled += unstarted
                abandoned += started
                latches += self._sleepers(fan_out)
                self._forget_if_done(fan_out)
        return cancelled, abandoned, latches

    def end_owner(self, owner: Owner) -> list[FanOut]:
        """Admit nothing more of an owner; which of its fan-outs are to be ended."""
        with self._guard:
            owner.ended = True
            return list(owner.fan_outs)

    def fan_outs_of(self, owner: Owner) -> list[FanOut]:
        """The fan-outs of an owner that are not done."""
        with self._guard:
            return list(owner.fan_outs)

    def withdraw(self, fan_out: FanOut) -> tuple[list[Task], list[Latch]]:
        """Take a fan-out's unstarted tasks back: which they are, and which latches to release.

        Not those of `run_in_parallel`: nobody holds their futures, and their caller wants results.
        """
        with self._guard:
            if not any(task.future is not None for task in fan_out.unstarted):
                return [], []
            tasks = self._cancel_unstarted(fan_out)
            self._forget_if_done(fan_out)
            return tasks, self._sleepers(fan_out)

    def _cancel_unstarted(self, fan_out: FanOut) -> list[Task]:
        """Take back all that nobody has started, promised or not."""
        tasks = self.queue.withdraw(fan_out) + self._put_off.take_all(fan_out)
        for task in list(fan_out.owner.at_workers) if fan_out.at_workers else ():
            if task.fan_out is fan_out and task.state is UNSTARTED and task.worker is not None:
                self._unpromise(task, task.worker)
                tasks.append(task)
        for task in tasks:
            task.state = CANCELLED
        self._cancelled += len(tasks)
        self._note_drained()
        return tasks

    def _abandon(self, fan_out: FanOut) -> list[Task]:
        """Give up what is running; workers keep at it, and their results are dropped."""
        tasks = [
            task
            for task in fan_out.owner.at_workers
            if task.fan_out is fan_out and task.state is RUNNING
        ]
        self._abandoned += len(tasks)
        tasks += [task for task in fan_out.threadless or () if task.state is RUNNING]
        for task in tasks:
            task.state = ABANDONED
        fan_out.at_workers -= len(tasks)
        self._note_drained()
        return tasks

    def begin_closing(self) -> tuple[list[FanOut], list[Worker]] | None:
        """Admit nothing more.

        Returns:
            The fan-outs to end, since no caller waits for them, and the workers to rouse, so that
            they end; `None` if closing has begun before.
        """
        with self._guard:
            if self.closing:
                return None
            self.closing = self._crew.closing = True
            self.queue.hold_nobody_back()
            orphans = [
                fan_out
                for fan_out in self.queue.fan_outs()
                if not fan_out.owner.lasting and not fan_out.has_caller
            ]
            idle, self._crew.idle = self._crew.idle, []
            return orphans, idle

    def drain(self) -> tuple[list[Worker], threading.Lock | None] | None:
        """All workers, and a latch that is released once they are done, if they are not.

        `None` if another thread has come first.
        """
        with self._guard:
            if self._closer is not None:
                return None
            self._closer = threading.current_thread()
            if self._unfinished():
                self._drained = threading.Lock()
                self._drained.acquire()
            return list(self._crew.members), self._drained

    def _note_drained(self) -> None:
        """Release the one who closes, if what it waits for is done: by a worker or by a caller."""
        if self._drained is not None and not self._unfinished():
            self._drained.release()
            self._drained = None

    def _unfinished(self) -> bool:
        """Whether there is anything that closing waits for."""
        return bool(self.queue.queued) or any(
            task.state is not ABANDONED for task in self._tasks_of_others()
        )

    def _tasks_of_others(self) -> list[Task]:
        """What is run by others than the thread that closes, or promised to them."""
        closer = self._closer
        return (
            [
                worker.task
                for worker in self._crew.members
                if worker.task is not None and worker.thread is not closer
            ]
            + [
                task
                for task, thread in self._claimed.items()
                if closer is None or thread != closer.ident
            ]
            + list(self._threadless)
        )

    def remaining(self) -> tuple[list[Task], int]:
        """What others still run when the drain is over, and how many tasks are queued.

        What a caller waits for goes back to that caller.
        """
        with self._guard:
            for fan_out in self.queue.fan_outs():
                if fan_out.has_caller:
                    self.queue.leave(fan_out)
            return self._tasks_of_others(), self.queue.queued

    # Rousing, and telling

    def rouse(self, worker: Worker) -> bool:
        """Wake a worker or start it (no lock is held); whether that was possible."""
        if self._crew.rouse(worker):
            return True
        self.not_started(worker)
        return False

    def _load(self) -> str:
        """The numbers that explain a delay."""
        crew, queue = self._crew, self.queue
        return (
            f"{len(crew.members) - len(crew.idle)} of {crew.most} workers busy, "
            f"{queue.queued} of {queue.capacity} waiting places taken"
        )

    def stats(self) -> PoolStats:
        """The numbers at this moment."""
        with self._guard:
            crew, queue = self._crew, self.queue
            offloaded = sum(task.is_offloaded for task in self._threadless)
            return PoolStats(
                max_workers=crew.most,
                workers=len(crew.members),
                busy=len(crew.members) - len(crew.idle),
                idle=len(crew.idle),
                abandoned=self._abandoned,
                max_queue=queue.capacity,
                queued=queue.queued,
                owners_waiting=queue.owners_waiting,
                run_by_workers=self._run_by_workers,
                run_by_callers=self._run_by_callers,
                rejected=self._rejected,
                cancelled=self._cancelled,
                failed=self._failed,
                coroutines=len(self._threadless) - offloaded,
                offloaded=offloaded,
                closed=self.closing,
            )


def passed(late: float) -> str:
    """That a deadline has passed, and how many seconds ago, if that says anything."""
    return f"The deadline passed {late:.1f} s ago." if late >= LATE else "The deadline has passed."
