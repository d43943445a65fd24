"""Task: claimed once, run once, settled once; its fan-out, its owner and its Future."""

from __future__ import annotations

import contextvars
import inspect
import math
import threading
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from commonpool.budget import Budget, Share
from commonpool.errors import CommonPoolError, TaskCancelled
from commonpool.unread import UnreadError

if TYPE_CHECKING:
    from commonpool.crew import Worker
    from commonpool.pool import CommonPool
    from commonpool.reports import Ending
    from commonpool.watcher import Watch

ContextRunner = Callable[[Callable[[], Any]], Any]
"""Calls a function inside a context that it enters and leaves, and returns what it returned."""

context_providers: list[Callable[[], ContextRunner | None]] = []
"""Asked on the caller's thread, once for each fan-out: in what should its callables run?"""


explainers: list[Callable[[Task, BaseException], None]] = []
"""Told of the error of every task that fails, on its thread, to add what they know to it."""


# Of up to so many tasks of a fan-out the second longest tells how long they run.
FEW = 64


HOW_TO_RUN_ASYNC = (
    "Import commonpool.ext.asyncio, and pass the async function, a partial of it or its coroutine: "
    "the process has an event loop for those. Or run it to its end in a plain function: "
    "lambda: asyncio.run(fn())."
)


class State(Enum):
    """Where a task is in its life. Changed under the pool's lock alone."""

    UNSTARTED = "unstarted"
    RUNNING = "running"
    SETTLED = "settled"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"


UNSTARTED, RUNNING, SETTLED, ABANDONED, CANCELLED = State


class Running(threading.local):
    """What this thread is running: the innermost task, if any."""

    task: Task | None = None


running = Running()


class Stopper(Protocol):
    """Stops what a task is waiting for: a statement in a database, say."""

    def abandon(self) -> None:
        """Nobody wants the task's result any more. Called on any thread; never waits."""

    def __str__(self) -> str:
        """What the task is waiting for, in a few words."""


class Latch(Protocol):
    """What somebody sleeps on until it is released: a lock, for a thread."""

    def release(self) -> None:
        """Wake who sleeps on it. Never waits."""


class Owner:
    """The request (or script) on whose behalf tasks run, as the queue and the pool see it.

    Attributes:
        pool: the pool that its tasks go to.
        deadline: the moment on the monotonic clock after which nobody wants a result.
        fan_outs: those with tasks that are not settled.
        line: its fan-outs that hold waiting places, in the order of their arrival.
        queued: how many waiting places it holds.
        at_workers: its tasks that a worker runs or has been promised.
        ended: nothing of it is queued any more; what it submits runs in the caller.
        lasting: what it has submitted is still run when the pool closes.
        in_background: nobody waits for it, so that what fails is logged at once.
        workers: how many of its tasks may be at workers at a time.
        wants: how many workers it could keep busy, as its tasks have come; 0 when all are done.
        is_large: whether it wants more than is usual.
        watch: the watcher's entry for its deadline.
    """

    __slots__ = (
        "at_workers",
        "deadline",
        "ended",
        "fan_outs",
        "in_background",
        "is_large",
        "lasting",
        "line",
        "pool",
        "queued",
        "wants",
        "watch",
        "workers",
    )

    def __init__(
        self,
        pool: CommonPool,
        deadline: float = math.inf,
        *,
        lasting: bool = False,
        in_background: bool = False,
        workers: float = math.inf,
    ) -> None:
        self.pool = pool
        self.deadline = deadline
        self.lasting = lasting
        self.in_background = in_background
        self.workers = workers
        self.fan_outs: dict[FanOut, None] = {}
        self.line: OrderedDict[FanOut, None] = OrderedDict()
        self.queued = 0
        self.wants = 0
        self.is_large = False
        self.at_workers: dict[Task, None] = {}
        self.ended = False
        self.watch: Watch | None = None


class FanOut:
    """The tasks that one call submits together and waits for together.

    Attributes:
        owner: on whose behalf.
        parent: the task inside which it was made, if any.
        deadline: the earliest of the owner's, the parent's and its own.
        has_caller: whether somebody waits for all of it, and so can keep what finds no room.
        patient: whether its caller sleeps while a worker is free, to keep a time limit of its own.
        stops_on_failure: whether the first failure cancels what has not started.
        context: the caller's context, of which each task gets a copy; entered by nobody.
        runner: what its callables run in, or `None`.
        unstarted: its tasks that nobody has claimed, in order.
        held: those of them that found no share of their budget: its caller may claim them, and
            workers once there is a share again.
        places: how many of those hold a waiting place; the rest is kept by the caller.
        at_workers: how many of its tasks a worker runs or has been promised, or another thread
            runs that waits for their futures.
        sleepers: latches to release when no task of it is at a worker any more.
        failure: the first task that failed.
        ending: why it was ended before all was done.
        watch: the watcher's entry for its deadline, where that is not its owner's.
        has_staged: whether some of its tasks go on from call to call on their caller's thread.
        has_threadless: whether some of its tasks need no thread.
        hurry: whether something has come that its caller should look at before all else.
        place: where it was asked for.
        times: seconds that those of its tasks have run of which that is known.
        threadless: those of its tasks that run without a thread.
        lent: fan-outs of coroutines among those, with which its callers help while they wait.
    """

    # Defaults stand in the class instead of in __init__: most fan-outs leave most as they are.

    places = 0
    at_workers = 0
    failure: Task | None = None
    ending: Ending | None = None
    watch: Watch | None = None
    parent: Task | None = None
    sleepers: list[Latch] | None = None
    held: deque[Task] | None = None
    has_staged = False
    has_threadless = False
    hurry = False
    place: Hashable = None
    threadless: dict[Task, None] | None = None
    lent: list[FanOut] | None = None

    def __init__(
        self,
        owner: Owner,
        *,
        timeout: float | None = None,
        has_caller: bool = False,
        stops_on_failure: bool = False,
    ) -> None:
        self.owner = owner
        deadline = owner.deadline
        parent = running.task
        if parent is not None:
            self.parent = parent
            if parent.fan_out.owner is owner:
                deadline = min(deadline, parent.fan_out.deadline)
        if timeout is not None:
            deadline = min(deadline, owner.pool.clock() + timeout)
        self.deadline: float = deadline
        self.patient = timeout is not None
        self.has_caller = has_caller
        self.stops_on_failure = stops_on_failure
        self.context = contextvars.copy_context()
        self.runner = context_runner() if context_providers else None
        self.unstarted: deque[Task] = deque()
        self.times: list[float] = []

    @property
    def typical_time(self) -> float:
        """How long its tasks run, in seconds: the second longest; of many, all but one on average.

        If the second longest of a few is short, all but one of them are. Among many there are
        always some during which the machine did something else. 0 if nothing is known.
        """
        times = sorted(self.times)
        if len(times) > FEW:
            return sum(times[:-1]) / (len(times) - 1)
        return times[-2] if len(times) > 1 else 0.0

    @property
    def kept(self) -> int:
        """How many unstarted tasks hold no waiting place."""
        return len(self.unstarted) - self.places


class Task:
    """One callable, run once.

    Guarantees:
        It is claimed by one worker or by one caller, and never run twice.
        It runs in a copy of the context that its caller had, entered by nobody else.
        Whatever it raises is kept, never let out of `run`.
    """

    # Defaults stand in the class, as for FanOut: making a task takes a third of the time so.
    fan_out: FanOut
    future: TaskFuture | None = None
    state: State = UNSTARTED
    context: contextvars.Context | None = None
    runner: ContextRunner | None = None
    value: Any = None
    error: BaseException | None = None
    worker: Worker | None = None
    started_at: float = 0.0
    budget: Budget | None = None  # what it needs a share of at a worker
    share: Share | None = None  # that share, while it has it
    stopper: Stopper | None = None  # what stops that which it is waiting for
    unread: UnreadError | None = None  # its error, until who has its future has asked for it
    keeps_statements = False  # whether it stands for several that its caller executes in turn
    awaited = False  # whether its caller wants to be woken for this one
    is_threadless = False  # whether something else runs it than a worker or a caller
    is_offloaded = False  # whether another process does

    def __init__(self, fn: Callable[[], Any], fan_out: FanOut | None = None) -> None:
        self.fn = fn
        if fan_out is not None:
            self.fan_out = fan_out

    @property
    def name(self) -> str:
        """What a person would call it."""
        return describe(self.fn)

    @property
    def where(self) -> str:
        """On what it runs, once it does."""
        return "a thread that waits for it" if self.worker is None else self.worker.name

    def secure(self) -> Share | None:
        """Take its share of its budget; called by a worker, before it claims the task.

        Returns:
            `None` where there is no share to be had now.
        """
        if self.budget is None:
            return None
        # who has the future may wait for it without helping: it is not put off
        return self.budget.take(at_any_rate=self.future is not None)

    def run_with(self, share: Share | None) -> None:
        """Run it on a worker, with the share that was secured for it."""
        self.share = share
        self.run()

    @property
    def raised(self) -> BaseException | None:
        """What it has raised so far."""
        return self.error

    @property
    def own_failure(self) -> Exception | None:
        """What it has raised of itself: not that it was interrupted, or came too late."""
        raised = self.raised
        if isinstance(raised, Exception) and not isinstance(raised, CommonPoolError):
            return raised
        return None

    @property
    def its_context(self) -> contextvars.Context:
        """What it runs in a copy of."""
        return self.fan_out.context if self.context is None else self.context

    def capture_context(self) -> None:
        """Have it run in what is the context now, not in what was the fan-out's at its start."""
        self.context = contextvars.copy_context()
        self.runner = context_runner()

    def run(self) -> None:
        """Call it on this thread, in its own context; keep its value or its error."""
        outer, running.task = running.task, self
        fan_out = self.fan_out
        try:
            context, runner = self.context, self.runner
            if context is None:
                context, runner = fan_out.context, fan_out.runner
            if runner is None:
                value = context.copy().run(self.fn)
            else:
                value = context.copy().run(runner, self.fn)
            if type(value) is types.CoroutineType:
                value.close()
                raise TypeError(needs_event_loop(self.fn))
            self.value = value
        except BaseException as error:
            self.error = error
            for explain in explainers:
                explain(self, error)
        finally:
            running.task = outer
            # the error's traceback holds this frame: without this line, they keep each other
            del self, fan_out

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.state.value}>"


class TaskFuture(Future[Any]):
    """The Future of a task: whoever waits for a task that no worker has started runs it itself.

    It knows its task until it is settled, and then keeps neither it nor its arguments alive.
    What the task raised is logged if nobody asks for it.
    """

    _unread: UnreadError | None = None

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task: Task | None = task
        self._why_cancelled = ""

    def result(self, timeout: float | None = None) -> Any:
        """What the task returned; runs it here if nobody has started it.

        Args:
            timeout: seconds to wait; `None` for no limit. With a limit the caller waits for a
                worker as long as one is free, so that it can keep that time.

        Raises:
            TimeoutError: the time passed first; the task goes on.
            TaskCancelled: it was cancelled before it started, or its request ended.
            DeadlineExceeded: its deadline passed first.
            PoolClosed: the pool was closed first, or it was submitted in another process.
        """
        self._help(timeout)
        try:
            return super().result(timeout)
        except CancelledError as error:
            if not self.cancelled():  # the task's own error
                self.mark_read(error)
                raise
            raise TaskCancelled(self._why_cancelled) from None
        except BaseException as error:
            self.mark_read(error)
            raise
        finally:
            # as in the standard library: an error's traceback would keep this future alive
            self = None  # type: ignore[assignment]  # noqa: PLW0642

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or `None`; otherwise as `result`."""
        self._help(timeout)
        try:
            error = super().exception(timeout)
            self.mark_read(error)
            return error
        except CancelledError:  # that this is cancelled: a task's own error is returned
            raise TaskCancelled(self._why_cancelled) from None
        finally:
            self = error = None  # type: ignore[assignment]  # noqa: PLW0642 - as in `result`

    def mark_read(self, error: BaseException | None) -> None:
        """Somebody was told of an error: of the task's own, or that the time was up."""
        unread = self._unread
        if unread is not None and unread.error is error:
            unread.read()
            self._unread = None

    def keep_unread(self, task: Task, error: BaseException) -> None:
        """Have an error logged if nobody asks for it; what fails in the background is anyway."""
        owner = task.fan_out.owner
        if not owner.in_background:
            task.unread = self._unread = UnreadError(
                task.name, error, task.its_context, owner.pool.aside
            )

    def _help(self, timeout: float | None) -> None:
        task = self._task
        if task is not None:
            task.fan_out.owner.pool.help_with(task, timeout)
        del self, task  # the traceback of its error leads to this frame

    def cancel(self) -> bool:
        """Cancel the task if nobody has started it; whether it is cancelled now."""
        task = self._task
        if task is not None and task.fan_out.owner.pool.cancel(task):
            return True
        return self.cancelled()

    def running(self) -> bool:
        """Whether the task has been started and is not done."""
        task = self._task
        return task is not None and task.state is RUNNING

    def settle(self, task: Task) -> None:
        """Hand the task's value or error to everyone who waits (called once, by the pool)."""
        self._task = None
        if task.error is None:
            self.set_result(task.value)
        else:
            self.keep_unread(task, task.error)
            self.set_exception(task.error)

    def set_cancelled(self, why: str) -> None:
        """Tell everyone who waits that the task will not run (called once, by the pool)."""
        self._task = None
        self._why_cancelled = why
        super().cancel()
        self.set_running_or_notify_cancel()

    def give_up(self, error: Exception) -> None:
        """Tell everyone who waits that nobody will wait for the task (called once, by the pool)."""
        self._task = None
        self.set_exception(error)

    def __repr__(self) -> str:
        return f"<TaskFuture {self._task or 'done'}>"


def context_runner() -> ContextRunner | None:
    """What the callables of a fan-out should run in, as the providers see it from here."""
    runner: ContextRunner | None = None
    for provider in context_providers:
        inner = provider()
        if inner is not None:
            runner = inner if runner is None else nested(runner, inner)
    return runner


def nested(outer: ContextRunner, inner: ContextRunner) -> ContextRunner:
    """A runner that runs `inner` in `outer`."""
    return lambda fn: outer(lambda: inner(fn))


def describe(fn: object) -> str:
    """A callable as a person would name it: module and qualified name where it has them."""
    while isinstance(fn, partial):
        fn = fn.func
    try:
        name = fn.__qualname__  # type: ignore[attr-defined]  # not every one has it
        return f"{getattr(fn, '__module__', None) or '?'}.{name}"
    except Exception:  # it has no such names, or is a proxy for something that is not there now
        return type(fn).__qualname__


def needs_event_loop(fn: object) -> str:
    """What to say to someone who hands a coroutine to a thread."""
    return (
        f"{describe(fn)} is an async function: a worker thread has no event loop to run it. "
        f"{HOW_TO_RUN_ASYNC}"
    )


def check_callable(fn: object) -> None:
    """Raise `TypeError` for what a worker cannot call, with what to pass instead."""
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(needs_event_loop(fn))
    if callable(fn):
        return
    if inspect.iscoroutine(fn):
        fn.close()  # it will never be awaited: spare the caller the warning about that
        raise TypeError(
            f"{describe(fn)} is a coroutine: a worker thread has no event loop to run it. "
            f"{HOW_TO_RUN_ASYNC}"
        )
    if type(fn).__module__.startswith("sqlalchemy."):
        raise TypeError(
            f"{type(fn).__name__} is run by the adapter for SQLAlchemy: install "
            "commonpool[sqlalchemy] and import commonpool.ext.sqlalchemy. (The result of a query "
            "is no task: pass the query.)"
        )
    raise TypeError(
        f"a task must be something to call, not {type(fn).__name__} ({fn!r:.60}). If it is the "
        "result of a call, pass the function itself, without its brackets."
    )
