"""OffloadedTask: an offloaded call as a task, which needs no worker while it is away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from commonpool.adapters import innermost
from commonpool.errors import TaskCancelled
from commonpool.ext.offload.calls import Call, Offloaded
from commonpool.ext.offload.children import PROGRAM
from commonpool.ext.offload.office import Office, office_of
from commonpool.greenlets import patched
from commonpool.task import ABANDONED, Task, explainers
from commonpool.threadless import ThreadlessTask


class OffloadedTask(ThreadlessTask):
    """A call that another process runs.

    Guarantees:
        It is cancelled when nobody wants its result any more: where a process of this machine runs
        it, that is killed.
        Where nothing else can run it (a closed pool, a request that has ended, inside another
        offloaded call, ``offload="caller"``), its caller does.

    Args:
        call: the function and its arguments.
    """

    is_offloaded = True
    _office: Office | None = None
    _running: asyncio.Task[None] | None = None
    _is_over = False

    def __init__(self, call: Call[Any]) -> None:
        self._call = call

    @property
    def fn(self) -> Callable[[], Any]:  # type: ignore[override]
        """What runs it in its caller."""
        return self._call

    @property
    def name(self) -> str:
        """What a person would call it."""
        return self._call.name

    @property
    def where(self) -> str:
        """On what it runs."""
        return self._its_office.where

    def can_begin(self) -> bool:
        """Whether there is something that runs it."""
        pool = self.fan_out.owner.pool
        if pool.closed or pool.config.offload == "caller" or is_child():
            return False
        try:
            self._office = office_of(pool)
        except RuntimeError:  # no thread can be started
            return False
        return True

    def begin(self) -> None:
        """Have it run."""
        self._on_loop(self._start)

    def hurry(self) -> None:
        """A thread waits for it; there is nothing to be done about that."""

    def abandon(self) -> None:
        """Cancel it."""
        self._on_loop(self._cancel)

    def stack(self) -> str:
        """What becomes of it; its own stack is in another process."""
        if self._its_office.cluster is not None:
            return "  It is cancelled there; a Dask worker that runs it goes on."
        return "  Its process is killed."

    @property
    def _its_office(self) -> Office:
        assert self._office is not None  # noqa: S101 - `can_begin` has seen to that
        return self._office

    def _on_loop(self, fn: Callable[[], None]) -> None:
        if not self._its_office.call_soon(fn) and not self._is_over:  # nothing runs it any more
            self._finish(stopped=bool(self.stop_reason))

    def _start(self) -> None:
        if not self._is_over:
            self._running = self._its_office.loop.create_task(self._run())
            self._running.add_done_callback(self._done)

    async def _run(self) -> None:
        try:
            self.value = await self._its_office.run(self._call, self.fan_out)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # no error of a call is one of the loop's
            self.error = error
            for explain in explainers:
                explain(self, error)
        finally:
            del self  # the error's traceback holds this frame

    def _cancel(self) -> None:
        if self._running is not None:
            if not self._running.cancelling():  # the end of its process is not to be cancelled
                self._running.cancel()
        elif not self._is_over:
            self._finish(stopped=True)

    def _done(self, running: asyncio.Task[None]) -> None:
        self._running = None
        stopped = running.cancelled()
        if stopped and not (self.stop_reason or self.state is ABANDONED):
            stopped = False
            self.error = TaskCancelled(f"{self.name} was cancelled, but not by its caller.")
        self._finish(stopped=stopped)

    def _finish(self, *, stopped: bool) -> None:
        self._is_over = True
        self.fan_out.owner.pool.finish_threadless(self, stopped=stopped)


def is_child() -> bool:
    """Whether this process runs offloaded calls itself."""
    return getattr(sys.modules.get("__main__"), "__file__", None) == PROGRAM


def call_task(call: Call[Any]) -> Task:
    """An offloaded call as a task.

    Raises:
        TypeError: gevent has put greenlets in the place of threads.
    """
    if patched():
        raise TypeError(
            f"{call.name} is offloaded, and under gevent commonpool cannot wait for other "
            "processes. Pass it to gevent's own: gevent.subprocess, or a queue of jobs."
        )
    return OffloadedTask(call)


def offload_task(thing: object) -> Task | None:
    """A task for a partial of what `offload` returned; `None` for all else."""
    if isinstance(thing, partial) and isinstance(innermost(thing), Offloaded):
        return call_task(thing())
    return None
