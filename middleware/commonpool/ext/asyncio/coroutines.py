"""CoroutineTask: a coroutine, or whatever can be awaited, as a task on an event loop."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

from commonpool.adapters import innermost
from commonpool.errors import TaskCancelled
from commonpool.ext.asyncio.homes import Home, process_home, running_loop
from commonpool.ext.asyncio.line import LoopTask
from commonpool.greenlets import patched
from commonpool.task import ABANDONED, Task, context_providers, describe, explainers

inside: ContextVar[CoroutineTask | None] = ContextVar("commonpool_coroutine", default=None)
"""The innermost coroutine task that this context belongs to."""


class CoroutineTask(LoopTask):
    """A coroutine function that is called, or an awaitable that is awaited, on an event loop.

    Guarantees:
        It runs in a copy of the context that its caller had, entered by nobody else, and in an
        app context of its own.
        It is cancelled, as asyncio's tasks are, when nobody wants its result any more.

    Args:
        thing: the coroutine function, or the awaitable.
        is_function: which of them.
    """

    home: Home | None = None  # where it runs; the process's own, unless that is said before
    _running: asyncio.Task[None] | None = None
    _is_over = False

    def __init__(self, thing: Any, *, is_function: bool) -> None:
        self.outer = inside.get()  # the coroutine that has made this one, while this is not over
        self._thing = thing
        self._is_function = is_function
        self._contexts = own_contexts()

    @property
    def fn(self) -> Callable[[], Any]:  # type: ignore[override]
        """What runs it where no event loop of the process can."""
        return self._run_by_itself

    @property
    def name(self) -> str:
        """What a person would call it."""
        thing = self._thing
        frame = thing.cr_frame if inspect.iscoroutine(thing) else None
        if frame is not None:
            return f"{frame.f_globals.get('__name__', '?')}.{thing.__qualname__}"
        return describe(thing)

    def can_begin(self) -> bool:
        """Whether its loop runs.

        Raises:
            TypeError: what it is to await belongs to another loop.
        """
        if self.home is None:
            try:
                self.home = process_home()
            except RuntimeError:  # no thread can be started
                return False
        thing = self._thing
        if asyncio.isfuture(thing) and thing.get_loop() is not self.home.loop:
            raise TypeError(
                f"{thing!r:.80} belongs to an event loop that is not the one it would be awaited "
                "on. Pass the coroutine function, or in that loop's thread use "
                "`await run_in_parallel_async(...)`."
            )
        return True

    def begin(self) -> None:
        """Have it run on its loop, as soon as there is room."""
        home = self._its_home
        # What a coroutine submits must not wait until that coroutine has ended.
        at_once = inside.get() is not None and not self.fan_out.has_caller
        if home.is_here:
            home.line.enter(self, at_once=at_once)
        else:
            home.loop.call_soon_threadsafe(lambda: home.line.enter(self, at_once=at_once))

    def hurry(self) -> None:
        """A thread waits for it: have it run now."""
        self._on_loop(lambda: self._its_home.line.hurry(self))

    def abandon(self) -> None:
        """Cancel it."""
        self._on_loop(self._cancel)
        if self._its_home.loop.is_closed() and not self._is_over:  # nothing runs on it any more
            self._finish(stopped=bool(self.stop_reason))

    def close(self) -> None:
        """It will not be awaited; a coroutine would warn of that."""
        if inspect.iscoroutine(self._thing):
            self._thing.close()

    def start(self) -> None:
        """Have it run, on the loop's thread."""
        if self._is_over:
            self._its_home.line.leave(self)
            return
        self._running = self._its_home.loop.create_task(
            self._run(), context=self.its_context.copy()
        )
        self._running.add_done_callback(self._done)

    async def run_within(self) -> None:
        """Run it as a part of the coroutine that is running; keep its value or its error."""
        running = asyncio.create_task(self._run(), context=self.its_context.copy())
        try:
            await running
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is None or caller.cancelling() or not running.cancelled():
                raise
            self.error = self._cancelled_from_within()

    def check_may_wait(self) -> None:
        """Raise `RuntimeError` on the thread of its own loop."""
        if self.home is not None and self.home.is_here:
            raise RuntimeError(
                f"{self.name} runs on this thread's event loop, which would wait for itself. "
                "Await it: `await asyncio.wrap_future(future)`, or `await "
                "run_in_parallel_async(...)` instead of submit, a task group or shutdown."
            )

    def stack(self) -> str:
        """Where it waits, outermost first."""
        frames: list[FrameType] = []
        running = self._running  # the loop goes on meanwhile, and may be done with it
        waiting: Any = None if running is None else running.get_coro()
        while waiting is not None:
            frame, waiting = frame_and_awaited(waiting)
            if frame is not None and frame.f_code is not CoroutineTask._run.__code__:
                frames.append(frame)
        calls = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
        return "".join(traceback.format_list(calls)).rstrip()

    @property
    def _its_home(self) -> Home:
        assert self.home is not None  # noqa: S101 - `can_begin` has seen to that
        return self.home

    def _on_loop(self, fn: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing runs on it any more
            self._its_home.loop.call_soon_threadsafe(fn)

    async def _run(self) -> None:
        inside.set(self)
        try:
            with ExitStack() as contexts:
                for enter in self._contexts:
                    contexts.enter_context(enter())
                self.value = await (self._thing() if self._is_function else self._thing)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # Ctrl-C too: the loop is not its caller
            self.error = error
            for explain in explainers:
                explain(self, error)
        finally:
            del self  # the error's traceback holds this frame

    def _run_by_itself(self) -> Any:
        if running_loop() is not None:
            self.close()
            raise RuntimeError(
                f"{self.name} cannot be run here: the pool was closed, or its request has ended, "
                "and this thread runs an event loop already. Await it there."
            )

        async def run() -> Any:
            return await (self._thing() if self._is_function else self._thing)

        return asyncio.run(run())

    def _cancel(self) -> None:
        if self._running is not None:
            if not self._running.cancelling():  # its cleaning up is not to be cancelled, too
                self._running.cancel()
        elif not self._is_over:
            self._its_home.line.take_out(self)
            try:
                self.close()
            finally:
                self._finish(stopped=True)

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running = None
        stopped = False
        if running.cancelled():
            stopped = bool(self.stop_reason) or self.state is ABANDONED
            if not stopped:
                self.error = self._cancelled_from_within()
        self._its_home.line.leave(self)
        self._finish(stopped=stopped)

    def _cancelled_from_within(self) -> TaskCancelled:
        return TaskCancelled(f"{self.name} was cancelled, but not by its caller.")

    def _finish(self, *, stopped: bool) -> None:
        self._is_over = True
        self.outer = None
        self.fan_out.owner.pool.finish_threadless(self, stopped=stopped)


def frame_and_awaited(waiting: object) -> tuple[FrameType | None, object]:
    """Where a coroutine (or a generator that one awaits) stands, and what it awaits."""
    if inspect.iscoroutine(waiting):
        return waiting.cr_frame, waiting.cr_await
    if inspect.isgenerator(waiting):
        return waiting.gi_frame, waiting.gi_yieldfrom
    return None, None


def coroutine_task(thing: object) -> Task | None:
    """A task for a coroutine function or an awaitable; `None` for all else.

    What can be called is called: a proxy can be awaited as far as anybody can tell.

    Raises:
        TypeError: gevent has put greenlets in the place of threads.
    """
    is_function = is_coroutine_function(thing)
    if not (
        is_function
        or inspect.iscoroutine(thing)
        or (inspect.isawaitable(thing) and not callable(thing))
    ):
        return None
    if patched():
        if inspect.iscoroutine(thing):
            thing.close()  # it will never be awaited: spare the caller the warning about that
        raise TypeError(
            f"{describe(thing)} is asynchronous, and under gevent an event loop would be that of "
            "all greenlets of its thread. Pass a function: it runs as a greenlet, and waits as "
            "gevent does (requests or httpx.Client in place of httpx.AsyncClient)."
        )
    return CoroutineTask(thing, is_function=is_function)


def is_coroutine_function(thing: object) -> bool:
    """Whether calling this, a partial or an object too, gives a coroutine."""
    if inspect.iscoroutinefunction(thing):
        return True
    inner: object = innermost(thing) if callable(thing) else thing
    return inspect.iscoroutinefunction(getattr(type(inner), "__call__", None))  # noqa: B004 - it is looked at, not called


def own_contexts() -> list[Callable[[], AbstractContextManager[None]]]:
    """What a coroutine that is submitted from here is to be in, each entered once it runs.

    Of the providers those that know of it: what belongs to a thread cannot be a coroutine's own.
    """
    entered = (getattr(provider(), "entered", None) for provider in context_providers)
    return [enter for enter in entered if enter is not None]
