"""CommonPool: runs what was dispatched, lets callers help, keeps deadlines, and drains."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from commonpool.adapters import task_of
from commonpool.budget import Budget, Share
from commonpool.config import PoolConfig
from commonpool.crew import Worker
from commonpool.demand import LATELY
from commonpool.dispatch import Dispatch, Route, passed
from commonpool.errors import (
    CommonPoolError,
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    TaskCancelled,
)
from commonpool.keeping import Keeping
from commonpool.kept_task import KeptTask
from commonpool.reports import announce, announce_all, stacks_of, told
from commonpool.stats import PoolStats
from commonpool.task import (
    ABANDONED,
    CANCELLED,
    SETTLED,
    FanOut,
    Latch,
    Owner,
    Task,
    TaskFuture,
    running,
)
from commonpool.threadless import ThreadlessFuture, ThreadlessTask
from commonpool.unread import log_in
from commonpool.watcher import Watcher

log = logging.getLogger("commonpool")

# The calls that the pool makes while it holds its lock are less deep than this. Whoever recurses
# without end meets the recursion limit before the lock is taken, not with the queue half changed.
HEADROOM = 12

# Seconds that `close` may take above its timeout: for statements to be stopped in their databases,
# and for the threads that sleep to end.
CLOSING_GRACE = 0.9


class CommonPool(ThreadPoolExecutor):
    """The one bounded executor of this process.

    Guarantees:
        It never waits where sequential code would work: whoever waits for a task that no worker
        has started runs it itself.
        It never deadlocks: a task submitted inside a task has a worker to itself, or is run at
        once by the thread that submits it.
        It is bounded: never more than `max_workers` workers, nor more than `max_queue` waiting
        tasks.
        It is fair: owners take turns, none has more than `max_workers_per_request` workers, and
        those that want more than is usual leave room for what the others have lately wanted.
        A task is claimed once, run at most once, and settled once.
        A thread is started only when there is a task for it and no idle worker.
        Closing takes at most its timeout and a second, whatever the tasks do.

    It does not promise that a started task ends: Python cannot stop a thread.

    Its threads are its own, and daemonic: the standard library joins the threads of its executors
    without a limit when the interpreter exits. Nothing private of the base class is used.

    Args:
        config: its size; `PoolConfig()` by default.
        clock: seconds, monotonic.
    """

    def __init__(
        self, config: PoolConfig | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = PoolConfig() if config is None else config
        super().__init__(max_workers=self.config.max_workers)
        self.clock = clock
        self.pid = os.getpid()
        # how long a request may take; where the config leaves that to the server, `process` asks it
        self.request_seconds = math.inf if self.config.deadline is None else self.config.deadline
        self.watcher = Watcher(clock)
        self._own_owner = Owner(self, lasting=True)
        self._lasting = [self._own_owner]
        self.background_owner = self.new_background_owner()
        self._dispatch = Dispatch(self.config, self._work, clock)
        self._lock_type: type = type(threading.Lock())  # there may be others, later
        self._looks_again = False
        self._has_ended = False
        self._when_closed: list[Callable[[], None]] = []
        self._keeping = Keeping(
            self.watcher, self._hand_over, self._dispatch.pace.is_surprising, clock
        )

    def new_background_owner(self, workers: float = math.inf) -> Owner:
        """On whose behalf background work is run: what outlives its request, and is drained.

        Args:
            workers: how many of its tasks may be at workers at a time.
        """
        owner = Owner(self, lasting=True, in_background=True, workers=workers)
        self._lasting.append(owner)
        return owner

    # As an executor of the standard library

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Run `fn(*args, **kwargs)` on behalf of nobody in particular; see `OwnerExecutor`."""
        return self.submit_to(FanOut(self._own_owner), task_of(fn, args, kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more tasks; those that were submitted are run, as in the standard library.

        Args:
            wait: whether to wait for them, however long that takes, and then to `close` the pool.
            cancel_futures: whether to cancel those that have not started.
        """
        if cancel_futures:
            for fan_out in self.open_fan_outs(self._own_owner):
                self.withdraw(fan_out, "The pool was shut down.")
        if not wait:
            self._begin_closing()
            return
        self.help_all(self._own_owner)
        self.close()

    # Submitting

    def submit_to(self, fan_out: FanOut, task: Task) -> TaskFuture:
        """Add a new task to a fan-out: to the queue, or to a worker, or run it at once.

        Raises:
            DeadlineExceeded: the fan-out's deadline has passed.
            PoolSaturated: there is no room, and the pool is to reject.
            BaseException: it was run at once, and raised what is not an `Exception` (Ctrl-C).
        """
        if isinstance(task, ThreadlessTask):
            return self._submit_threadless(fan_out, task)
        self._check(fan_out)
        task.fan_out = fan_out
        future = task.future
        if future is None:
            future = task.future = TaskFuture(task)
        route, worker = self._dispatch.route(task)
        if self._dispatch.queue.holds_back:
            self._look_again_later()
        if worker is not None and not self._rouse(worker) and self._dispatch.take_back(task):
            task.run()
            self._bring(task)
        elif route is Route.TO_CALLER:
            task.run()
            self.settle_here(task)
            if task.error is not None and not isinstance(task.error, Exception):
                future.mark_read(task.error)
                raise task.error
        elif route is Route.REJECTED:
            raise self._saturated(1)
        elif route is Route.CANCELLED:
            name = task.name
            announce([task], TaskCancelled, f"{name} was not started: its group has ended.")
        del fan_out, task  # the traceback of its error leads to this frame
        return future

    def _submit_threadless(self, fan_out: FanOut, task: ThreadlessTask) -> TaskFuture:
        future = task.future = ThreadlessFuture(task)
        for left in self.begin_threadless(fan_out, [task]):
            self._dispatch.claim_new(left)
            left.run()
            self.settle_here(left)
            if left.error is not None and not isinstance(left.error, Exception):
                future.mark_read(left.error)
                raise left.error
        return future

    def begin_threadless(
        self, fan_out: FanOut, tasks: list[ThreadlessTask]
    ) -> list[ThreadlessTask]:
        """Have new tasks of a fan-out run without a thread.

        Returns:
            All of them, if the caller has to run them itself since nothing else can; else none.

        Raises:
            DeadlineExceeded: its deadline has passed.
        """
        if not tasks:
            return []
        try:
            self._check(fan_out)
            for task in tasks:
                task.fan_out = fan_out
            can_begin = all(task.can_begin() for task in tasks)
            route = self._dispatch.begin_threadless(fan_out, tasks, can_begin=can_begin)
        except BaseException:
            for task in tasks:
                task.close()
            raise
        if route is Route.TO_CALLER:
            return tasks
        if route is Route.CANCELLED:
            announce(tasks, TaskCancelled, "It was not started: its group has ended.")
            for task in tasks:
                task.close()
            return []
        for task in tasks:
            task.begin()
        return []

    def finish_threadless(self, task: ThreadlessTask, *, stopped: bool) -> None:
        """A task that needs no thread is done; called once, by what has run it.

        Args:
            task: with its value or its error.
            stopped: whether it has ended because of `ThreadlessTask.stop`.
        """
        state = CANCELLED if stopped else SETTLED
        future = task.future
        if self._dispatch.settle(task, state) and isinstance(future, ThreadlessFuture):
            tell = partial(announce, [task], TaskCancelled, task.stop_reason)
            if not stopped:
                tell = partial(self._tell, task)
            if not (future.has_callbacks and self._on_worker(tell)):
                tell()
        cancelled, latches = self._dispatch.leave_threadless(task)
        for latch in latches:
            latch.release()
        self._after(task, cancelled)

    def stop_threadless(self, task: ThreadlessTask) -> bool:
        """Stop a task that needs no thread, for who holds its future; whether that was so."""
        self.check_process()
        stopped, latches = self._dispatch.stop_threadless(task)
        if stopped:
            task.abandon()
            if task.future is not None:
                task.future.set_cancelled(f"{task.name} was cancelled.")
        for latch in latches:
            latch.release()
        return stopped

    def latch_threadless(self, fan_out: FanOut, latch: Latch) -> bool:
        """As `help`, for a caller that must not wait: an event loop.

        Args:
            fan_out: what it waits for.
            latch: to be released when it has to look again.

        Returns:
            Whether there is anything to wait for; else the latch is not taken.
        """
        waits = self._dispatch.latch_threadless(fan_out, latch)
        if not waits:
            self.forget_watch(fan_out)
        return waits

    def lend(self, fan_out: FanOut, helper: FanOut) -> None:
        """Have the callers of another fan-out help with this one, while they wait.

        Args:
            fan_out: whose caller must not wait.
            helper: of the coroutine that is this caller.
        """
        for latch in self._dispatch.lend(fan_out, helper):
            latch.release()

    def _help_lent(self, helper: FanOut) -> None:
        while (task := self._dispatch.claim_lent(helper)) is not None:
            task.run()
            self._bring(task)

    @property
    def has_workers(self) -> bool:
        """Whether a worker will come for what waits: not when closed, or with all abandoned."""
        return not self.closed and self._dispatch.has_workers

    def run_unstarted(self, fan_out: FanOut) -> None:
        """Run a fan-out's unstarted tasks on this thread, and wait for nothing."""
        while (task := self._dispatch.claim_first(fan_out)) is not None:
            task.run()
            self._bring(task)

    def admit(self, fan_out: FanOut) -> Task | None:
        """Queue a fan-out's unstarted tasks, or as many as there is room for.

        Returns:
            The task that the caller, who is to call `help` next, has to itself.

        Raises:
            DeadlineExceeded: its deadline has passed.
            PoolSaturated: every waiting place is another owner's, and the pool is to reject.
        """
        self._check(fan_out)
        mine, refused, workers = self._dispatch.admit(fan_out)
        if refused:
            self.forget_watch(fan_out)
            raise self._saturated(refused)
        for worker in workers:
            self._rouse(worker)
        if self._dispatch.queue.holds_back:
            self._look_again_later()
        return mine

    @staticmethod
    def check_headroom(calls: int) -> None:
        """Raise `RecursionError` now rather than in an `add` that many calls deeper."""
        ensure_headroom(HEADROOM + calls)

    def add(self, fan_out: FanOut, tasks: list[Task]) -> None:
        """Add new tasks to a fan-out whose caller is to call `help`, for workers to start.

        The caller has called `check_headroom`.

        Raises:
            DeadlineExceeded: its deadline has passed.
            PoolSaturated: every waiting place is another owner's, and the pool is to reject.
        """
        self._watch(fan_out)
        for task in tasks:
            task.fan_out = fan_out
        in_line = len(tasks) == 1 and not fan_out.patient and self._is_scarce(tasks[0].budget)
        refused, workers = self._dispatch.add(fan_out, tasks, in_line=in_line)
        if refused:
            self.forget_watch(fan_out)
            raise self._saturated(refused)
        for worker in workers:
            self._rouse(worker)
        if self._dispatch.queue.holds_back:
            self._look_again_later()

    def keeps(self, fan_out: FanOut) -> bool:
        """Whether no worker is worth calling for what a fan-out asks for."""
        dispatch = self._dispatch
        return not (fan_out.patient or dispatch.closing) and dispatch.pace.keeps(fan_out.place)

    def run_as_one(self, kept: KeptTask) -> None:
        """Run what is kept on this thread, as far as it goes.

        Raises:
            DeadlineExceeded: its deadline has passed.
        """
        worker = self._dispatch.keep(kept)
        if worker is not None:
            self._rouse(worker)
        watched = kept.can_be_handed_over
        if watched:
            self._keeping.add(kept)
        try:
            kept.run_until(self._dispatch.pace.surprise, self.clock)
        finally:
            if watched:
                self._keeping.remove(kept)

    def end_keeping(self, kept: KeptTask) -> None:
        """What was to be run as one has come to an early end: from now on each is by itself."""
        ensure_headroom(HEADROOM)
        self._dispatch.end_keeping(kept)

    def take_over(self, kept: KeptTask, tasks: list[Task]) -> list[Task]:
        """Note what has become of what was to be run as one.

        Args:
            kept: that.
            tasks: the same as tasks, each by itself; without what was handed over.

        Returns:
            Those that are still to be run.

        Raises:
            BaseException: it was interrupted; the fan-out is ended.
        """
        fan_out, done = kept.fan_out, len(kept.values)
        for task, value in zip(tasks[:done], kept.values, strict=True):
            task.value = value
            task.state = SETTLED
        rest = tasks[done:]
        try:
            if kept.error is not None:
                failed = rest.pop(0)
                failed.error, kept.error = kept.error, None
                self.settle(failed)
            elif self.clock() >= fan_out.deadline:
                self.expire(fan_out, tasks[done - 1] if done else None)  # all may be handed over
        finally:
            over = fan_out.failure is not None or fan_out.ending is not None
            self._dispatch.give_back(rest, cancelled=over)
        return [] if over else rest

    def note_pace(self, fan_out: FanOut) -> None:
        """A fan-out is over: learn from it how long such tasks run."""
        if fan_out.failure is None and fan_out.ending is None:
            seconds = fan_out.typical_time
            if seconds:
                self._dispatch.pace.ran(fan_out.place, seconds)

    def _hand_over(self, kept: KeptTask) -> None:
        """Call workers for what a caller keeps, since it takes long."""
        if kept.handed_over:
            return
        self._watch(kept.fan_out)
        worker = self._dispatch.hand_over(kept, kept.tasks_of_rest())
        if worker is not None:
            self._rouse(worker)

    def claim_new(self, fan_out: FanOut, task: Task) -> Task:
        """Claim a new task of a fan-out for this thread, which is to run it."""
        task.fan_out = fan_out
        self._dispatch.claim_new(task)
        return task

    def freed(self, budget: Budget, *, wait: bool = True) -> None:
        """A share of a budget may be free again: have a worker start what waits for one.

        Args:
            budget: whose.
            wait: for the pool's lock; else the news is dropped while that is held.
        """
        if self._dispatch.has_put_off(budget):
            worker = self._dispatch.readmit(budget, wait=wait)
            if worker is not None:
                self._rouse(worker)

    def are_waiting_for(self, budget: Budget) -> bool:
        """Whether tasks wait for a share of a budget."""
        return self._dispatch.has_put_off(budget)

    def _is_scarce(self, budget: Budget | None) -> bool:
        """Whether others wait for a share of a budget, and there is none."""
        return budget is not None and self._dispatch.has_put_off(budget) and not budget.has_room()

    def _has_next(self, budget: Budget) -> bool:
        """Whether others wait for a share of a budget, and there is one."""
        return self._dispatch.has_put_off(budget) and budget.has_room()

    def _call_next(self, budget: Budget | None) -> None:
        """Have a worker start what waits for a share of a budget, if there is one to be had."""
        if budget is not None and self._has_next(budget):
            self.freed(budget)

    def _check(self, fan_out: FanOut) -> None:
        """What comes before every admission."""
        ensure_headroom(HEADROOM)
        self._watch(fan_out)

    def _saturated(self, tasks: int) -> PoolSaturated:
        return PoolSaturated(
            f"No room for {tasks} more tasks: {self.stats()}. Raise max_queue or max_workers, or "
            "let callers run what finds no room (overflow='caller_runs')."
        )

    # Waiting and helping

    def help(self, fan_out: FanOut, task: Task | None = None, *, until: Task | None = None) -> None:
        """Run a fan-out's unstarted tasks on this thread; then wait for those at workers.

        Returns when all its tasks are settled, or it was ended (`fan_out.ending`). What its tasks
        raise is kept in them.

        Args:
            fan_out: what to wait for.
            task: one of its tasks that this thread has claimed already.
            until: return as soon as this one of its tasks is settled, or `fan_out.hurry` is set.

        Raises:
            BaseException: a helped task raised what is not an `Exception` (Ctrl-C, a server's
                time limit). It is passed on at once, and the fan-out is ended.
        """
        timed, new = fan_out.deadline != math.inf, not self._dispatch.pace.knows(fan_out.place)
        while True:
            if task is not None:
                if new:
                    begun = self.clock()
                    task.run()
                    fan_out.times.append(self.clock() - begun)
                else:
                    task.run()
                if task.error is None and task.future is None:
                    task.state = SETTLED
                else:
                    self.settle(task)
                if timed and self.clock() >= fan_out.deadline:
                    self.expire(fan_out, task)
            task, latch, worker = self._dispatch.next_or_latch(fan_out, until)
            if worker is not None:
                self._rouse(worker)
            if latch is not None:
                self._sleep(fan_out, latch)
            elif task is None:
                break
        if until is None:
            self.forget_watch(fan_out)
        del fan_out, until  # the traceback of a task's error leads to this frame

    def help_all(self, owner: Owner) -> None:
        """Help with all of an owner's fan-outs that this thread may wait for, and wait for them."""
        while fan_outs := self.open_fan_outs(owner):
            for fan_out in fan_outs:
                check_may_wait(fan_out)
                self.help(fan_out)

    def open_fan_outs(self, owner: Owner) -> list[FanOut]:
        """An owner's fan-outs that are not done; inside a task, those that this task has made.

        A task that waited for others, too, would wait for itself.
        """
        this_task = running.task
        return [
            fan_out
            for fan_out in self._dispatch.fan_outs_of(owner)
            if this_task is None or fan_out.parent is this_task
        ]

    def _sleep(self, fan_out: FanOut, latch: threading.Lock) -> None:
        """Sleep until no task of the fan-out is at a worker, or until its deadline."""
        try:
            if fan_out.threadless:
                check_may_wait(fan_out)
            if fan_out.lent:
                self._help_lent(fan_out)
            if type(latch) is not self._lock_type:
                self._tell_of_late_patch()
            if fan_out.deadline == math.inf:
                latch.acquire()
            elif not latch.acquire(timeout=time_left(fan_out.deadline - self.clock())):
                self.expire(fan_out)
        except BaseException:
            self.end((fan_out,), TaskCancelled, "The caller was interrupted.")
            raise

    def _tell_of_late_patch(self) -> None:
        """Say once that threads have become greenlets since this pool was made."""
        self._lock_type = type(threading.Lock())
        log.error(
            "gevent has put greenlets in the place of threads after this pool was made (%s): a "
            "request that waits for it may stop all others. Have gevent patch before the pool is "
            "used (gevent-early-monkey-patch = true under uWSGI; monkey.patch_all() first of all "
            "elsewhere), or use the pool in requests only.",
            self,
        )

    def help_with(self, task: Task, timeout: float | None) -> None:
        """Run a task on this thread if nobody has started it; what its future's waiters call.

        Args:
            task: what is waited for.
            timeout: seconds; with a limit, a free worker is called instead, where there is one.

        Raises:
            PoolClosed: the task was submitted in another process.
        """
        self.check_process()
        ensure_headroom(HEADROOM)
        if timeout is None:
            claimed = self._dispatch.claim(task)
        elif timeout <= 0:
            return
        else:
            claimed, worker = self._dispatch.claim_or_promise(task)
            if worker is not None and not self._rouse(worker):
                claimed = self._dispatch.take_back(task)
        self._rouse_next()
        if claimed:
            task.run()
            self._bring(task)
        del task  # the traceback of its error leads to this frame

    def _bring(self, task: Task) -> None:
        """Settle a task that this thread has claimed from its fan-out and run."""
        try:
            self.settle_here(task)
        finally:
            for latch in self._dispatch.brought(task):
                latch.release()

    def settle(self, task: Task) -> None:
        """Settle a task that this thread has run as its caller.

        Raises:
            BaseException: the task raised what is not an `Exception`; its fan-out is ended.
        """
        self.settle_here(task)
        if task.error is not None and not isinstance(task.error, Exception):
            self.end((task.fan_out,), TaskCancelled, "The caller was interrupted.")
            raise task.error

    def settle_here(self, task: Task) -> None:
        """Settle a task that this thread has run; what it raised is kept in it."""
        task.state = SETTLED
        cancelled = self._dispatch.failed_here(task) if task.error is not None else []
        try:
            if task.future is not None:
                task.future.settle(task)
        finally:  # a done callback may raise anything
            self._after(task, cancelled)

    # What a worker does

    def _work(self, worker: Worker) -> None:
        """The life of a worker, up to a natural end or another."""
        try:
            self._serve(worker)
        except BaseException:  # none of ours, and none of a task: one that was thrown into a thread
            log.exception("worker %s ends", worker.name)
            left, latches = self._dispatch.lost(worker)
            for task in left:
                announce([task], PoolClosed, f"{task.name} was lost with its worker.")
            for latch in latches:
                latch.release()
            self._rouse_next()

    def _serve(self, worker: Worker) -> None:
        done: Task | None = None
        while True:
            task, staying, next_worker, cancelled, latches = self._dispatch.turn(worker, done)
            if next_worker is not None or self._dispatch.queue.holds_back:
                self._rouse_or_look_again(next_worker)
            for latch in latches:
                latch.release()
            if done is not None:
                self._after(done, cancelled)
                done = None
            del cancelled, latches  # what they refer to must not live as long as the next task
            if task is not None:
                if task.budget is None:
                    task.run()
                elif not self._run_with_share(worker, task):
                    task = None
                    continue
                if self.pid != os.getpid():  # it has forked: this is the child, with one thread
                    return
                self._settle_there(task)
                done, task = task, None
            elif staying:
                worker.gate.acquire()
            else:
                return

    def _run_with_share(self, worker: Worker, task: Task) -> bool:
        """Run a task that needs a share of a budget; whether there was one, and nobody was quicker.

        Until its share is secured the task is not claimed: its caller may run it in the meantime.
        """
        share: Share | None = None
        try:
            share = task.secure()
        except Exception:
            log.exception("nothing could be secured for %s", task.name)
        budget, has_future = task.budget, task.future is not None
        if share is None and not has_future:
            for latch in self._dispatch.put_off(worker, task):
                latch.release()
            self._call_next(budget)  # there may be one since it was looked for
            return False
        self._call_next(budget)
        is_mine = False
        try:
            is_mine = self._dispatch.start(worker, task)
            if is_mine:
                task.run_with(share)
            return is_mine
        finally:
            if share is not None:
                share.give_back()
                if not is_mine:
                    self._call_next(budget)
                elif budget is not None and self._has_next(budget):
                    worker.readmits = budget

    def _settle_there(self, task: Task) -> None:
        """Hand a worker's result to those who hold the future, unless nobody wants it any more."""
        if task.future is not None and self._dispatch.settle(task):
            self._tell(task)

    @staticmethod
    def _tell(task: Task) -> None:
        """Hand a result to those who hold the future."""
        outer, running.task = running.task, task  # a done callback must not wait for this one
        try:
            assert task.future is not None  # noqa: S101 - or nobody would hold it
            task.future.settle(task)
        except BaseException:  # out of a done callback: a worker must live on
            log.exception("a done callback of %s raised", task.name)
        finally:
            running.task = outer

    def _after(self, task: Task, cancelled: list[Task]) -> None:
        """What is left to do once a task is settled."""
        if cancelled:
            announce(cancelled, TaskCancelled, f"{task.name}, of the same group, failed.")
        fan_out = task.fan_out
        failure = fan_out.failure
        if fan_out.threadless and failure is not None:
            self._stop_all(fan_out, f"{failure.name}, of the same group, failed.")
        if fan_out.watch is not None and not fan_out.has_caller:
            self.forget_watch(fan_out)
        if task.error is not None and fan_out.owner.in_background:
            message = f"background task {task.name} failed"
            log_in(task.its_context, logging.ERROR, message, task.error)
        elif task.state is ABANDONED:
            error = task.own_failure
            if error is not None:
                message = f"abandoned task {task.name} failed"
                log_in(task.its_context, logging.ERROR, message, error)

    def _rouse(self, worker: Worker) -> bool:
        """Wake a worker or start it; where that fails and none is left, run what is queued here.

        But for a pool that is closing: that has its time limit to keep.
        """
        if self._dispatch.rouse(worker):
            return True
        while not self.closed and (task := self._dispatch.next_orphan()) is not None:
            task.run()
            self.settle_here(task)
        return False

    def _rouse_or_look_again(self, worker: Worker | None) -> None:
        if worker is None:
            self._look_again_later()
        else:
            self._rouse(worker)

    def _look_again_later(self) -> None:
        """Have what is held back go on when the others have stayed away for a while."""
        if not (self._looks_again or self.closed):
            self._looks_again = True
            self.watcher.at(self.clock() + LATELY, self._look_again)

    def _look_again(self) -> None:
        self._looks_again = False
        self._rouse_next()
        if self._dispatch.queue.holds_back:
            self._look_again_later()

    def _rouse_next(self) -> None:
        """Rouse a worker, if there is something for one in the queue and none is on its way."""
        worker = self._dispatch.summon()
        if worker is not None:
            self._rouse(worker)

    # Ending

    def cancel(self, task: Task) -> bool:
        """Take a task back if nobody has started it; whether that was so.

        Raises:
            PoolClosed: the task was submitted in another process.
        """
        self.check_process()
        ensure_headroom(HEADROOM)
        cancelled, latches = self._dispatch.cancel(task)
        if cancelled:
            announce([task], TaskCancelled, f"{task.name} was cancelled before it started.")
        for latch in latches:
            latch.release()
        self._rouse_next()
        return cancelled

    def end_owner(self, owner: Owner) -> None:
        """A request is over: cancel its unstarted tasks, abandon the started ones."""
        unfinished = self._dispatch.end_owner(owner)
        if owner.watch is not None:
            owner.watch.cancel()
            owner.watch = None
        if unfinished:
            self.end(unfinished, TaskCancelled, "The request ended first.")

    def withdraw(self, fan_out: FanOut, message: str) -> None:
        """Cancel a fan-out's unstarted tasks; the started ones go on."""
        ensure_headroom(HEADROOM)
        cancelled, latches = self._dispatch.withdraw(fan_out)
        for latch in latches:
            latch.release()
        announce(cancelled, TaskCancelled, message)
        if fan_out.threadless:
            self._stop_all(fan_out, message)
        self._rouse_next()

    @staticmethod
    def _stop_all(fan_out: FanOut, reason: str) -> None:
        """Stop those tasks of a fan-out that need no thread."""
        for task in list(fan_out.threadless or ()):
            if isinstance(task, ThreadlessTask) and not task.stop_reason:
                task.stop(reason)

    def expire(self, fan_out: FanOut, task: Task | None = None) -> None:
        """The deadline of a fan-out has passed.

        Args:
            fan_out: whose.
            task: what its caller was running itself meanwhile.
        """
        message = passed(self.clock() - fan_out.deadline)
        if task is not None:
            message = f"{message} The caller itself was running {task.name}."
        self.end((fan_out,), DeadlineExceeded, message)

    def _expire_owner(self, owner: Owner) -> None:
        self.end(owner.fan_outs, DeadlineExceeded, passed(self.clock() - owner.deadline))

    def end(self, fan_outs: Iterable[FanOut], kind: type[CommonPoolError], message: str) -> None:
        """Cancel the unstarted tasks of fan-outs, abandon the started ones, wake their callers.

        Args:
            fan_outs: which; those that were ended before are left alone.
            kind: the error that callers and futures get.
            message: what happened; the numbers are added.
        """
        ensure_headroom(HEADROOM)
        cancelled, abandoned, latches = self._dispatch.end(fan_outs, kind, message)
        for latch in latches:
            latch.release()
        if any(task.future is not None for task in (*cancelled, *abandoned)):
            self._aside(partial(announce_all, [*cancelled, *abandoned], kind))
        self._rouse_next()
        threadless = [task for task in abandoned if isinstance(task, ThreadlessTask)]
        where: dict[Task, str] = {task: task.stack() for task in threadless}  # while it waits there
        for task in abandoned:
            stopper = task if isinstance(task, ThreadlessTask) else task.stopper
            if stopper is not None:
                stopper.abandon()
        where |= stacks_of(task for task in abandoned if task not in where)
        for task in abandoned:
            said = f"{message} Abandoned: {told(task, self.clock())}\n{where[task]}"
            log_in(task.its_context, logging.WARNING, said)

    def aside(self, fn: Callable[[], None]) -> None:
        """Call something on the watcher's thread, soon; at once where there is none any more."""
        if self.closed or self.pid != os.getpid():
            fn()
        else:
            self.watcher.at(self.clock(), fn)

    def _aside(self, fn: Callable[[], object]) -> None:
        """Call what may run done callbacks: not on the watcher's thread, if a worker is free.

        A callback that blocks would hold up the deadlines of all requests.
        """
        if not (self.watcher.runs_here() and self._on_worker(fn)):
            fn()

    def _on_worker(self, fn: Callable[[], object]) -> bool:
        """Have a worker call something, if one is free; whether that is so."""
        task = Task(fn, FanOut(self.background_owner))
        worker = self._dispatch.promise(task)
        return worker is not None and (self._rouse(worker) or not self._dispatch.take_back(task))

    def close(self, timeout: float | None = None) -> None:
        """End the pool: later submits run in their callers.

        Unstarted tasks of requests go back to a caller that waits for them, or are cancelled.
        Started tasks and background work may go on until the timeout. What is left then is
        reported by name and age, and its futures get `PoolClosed`. Closing twice, or in a process
        that the pool does not belong to, does nothing.

        Args:
            timeout: seconds; `drain_timeout` by default.
        """
        limit = self.config.drain_timeout if timeout is None else timeout
        if self.pid != os.getpid():
            return
        self._begin_closing()
        draining = self._dispatch.drain()
        if draining is None:
            return
        crew, drained = draining
        begun = self.clock()
        if drained is not None:
            drained.acquire(timeout=time_left(limit))
        self._leave_behind(self.clock() - begun)
        ends_at = self.clock() + CLOSING_GRACE
        for worker in crew:
            task = worker.task
            if task is not None and task.stopper is not None:  # it needs the watcher to be stopped
                self._join(worker, ends_at)
        ended = self._dispatch.when_none_is_threadless()
        if ended is not None:
            ended.acquire(timeout=time_left(ends_at - self.clock()))
        self.watcher.close(max(0.0, ends_at - self.clock()))
        for worker in crew:
            if worker.task is None:
                self._join(worker, ends_at)
        self._has_ended = True
        self._do_when_closed()

    def when_closed(self, action: Callable[[], None]) -> None:
        """Have something done at the end of `close`; now if that is over. It may take 0.05 s."""
        self._when_closed.append(action)
        if self._has_ended:
            self._do_when_closed()

    def _do_when_closed(self) -> None:
        while self._when_closed:
            try:
                self._when_closed.pop()()
            except Exception:
                log.exception("the pool is closed, but for this")

    def _join(self, worker: Worker, ends_at: float) -> None:
        """Wait for a worker's thread to end."""
        thread = worker.thread
        if thread is None or thread is threading.current_thread():
            return
        if thread.ident is not None:  # else it has not been started yet, and ends at once
            thread.join(max(0.0, ends_at - self.clock()))

    def _begin_closing(self) -> None:
        """Admit nothing more, and dismiss who sleeps."""
        closing = self._dispatch.begin_closing()
        if closing is None:
            return
        orphans, idle = closing
        for fan_out in orphans:  # what a worker has started meanwhile goes on
            self.withdraw(fan_out, "The pool was closed.")
        for worker in idle:
            self._rouse(worker)

    def _leave_behind(self, seconds: float) -> None:
        """Give up what is not done at the end of the drain, and say so."""
        left, queued = self._dispatch.remaining()
        if left or queued:
            log.warning(
                "left behind after %.1f s of draining: %d tasks that had not started; running: %s",
                seconds,
                queued,
                ", ".join(told(task, self.clock()) for task in left) or "none",
            )
        fan_outs = {task.fan_out: None for task in left}
        for owner in list(self._lasting):
            fan_outs |= dict.fromkeys(self._dispatch.fan_outs_of(owner))
        if running.task is not None:  # a task that closes the pool is not left behind by that
            fan_outs.pop(running.task.fan_out, None)
        self.end(fan_outs, PoolClosed, f"The pool was closed, and drained for {seconds:.1f} s.")

    # Time, process, numbers

    def check_process(self) -> None:
        """Raise `PoolClosed` in a process that the pool does not belong to."""
        if self.pid != os.getpid():
            raise PoolClosed(
                f"This task was submitted in process {self.pid}; this is process {os.getpid()}, "
                "forked from it. Threads do not survive a fork: submit it here."
            )

    def _watch(self, fan_out: FanOut) -> None:
        """Have the watcher keep the deadlines that apply to a fan-out."""
        owner = fan_out.owner
        if owner.deadline != math.inf and owner.watch is None and not owner.ended:
            owner.watch = self.watcher.at(owner.deadline, partial(self._expire_owner, owner))
        if fan_out.deadline < owner.deadline and fan_out.watch is None:
            fan_out.watch = self.watcher.at(fan_out.deadline, partial(self.expire, fan_out))

    @staticmethod
    def forget_watch(fan_out: FanOut) -> None:
        """Have the watcher forget a fan-out that is done."""
        if fan_out.watch is not None:
            fan_out.watch.cancel()
            fan_out.watch = None

    @property
    def closed(self) -> bool:
        """Whether it takes no more tasks."""
        return self._dispatch.closing

    def stats(self) -> PoolStats:
        """The pool's numbers at this moment."""
        return self._dispatch.stats()

    def __repr__(self) -> str:
        return f"<CommonPool {self.stats()}>"


def check_may_wait(fan_out: FanOut) -> None:
    """Raise `RuntimeError` where tasks could not go on while this thread waits for them."""
    for task in list(fan_out.threadless or ()):
        if isinstance(task, ThreadlessTask):
            task.check_may_wait()


def ensure_headroom(calls: int) -> None:
    """Raise `RecursionError` now rather than within the next calls."""
    if calls:
        ensure_headroom(calls - 1)


def time_left(seconds: float) -> float:
    """Seconds as a lock takes them: not negative, and not above its greatest timeout."""
    return min(max(seconds, 0.0), threading.TIMEOUT_MAX)
