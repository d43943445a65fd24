"""Calls on native threads, while the greenlet that makes them waits and the others go on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.hub import Hub
from gevent.threadpool import ThreadPool
from greenlet import getcurrent

from commonpool.ext.gevent.collecting import collecting

# Threads at most: far above what a process has connections, each of which makes one call at a time.
MOST_THREADS = 1000

# Seconds after which a thread ends that has had nothing to do.
IDLE_FOR = 60.0

# At most one; not the hub's own pool: that has ten threads, and looks up hosts' names on them.
_made: list[ThreadPool] = []


def call(
    fn: Callable[..., Any],
    *arguments: Any,
    cut: Callable[[], object] | None = None,
    discard: Callable[[Any], object] | None = None,
) -> Any:
    """Call a function on a native thread; see `commonpool.greenlets.NativeCall`.

    Guarantees:
        It runs in a copy of the context, and once.
        Without `discard` it returns, or raises, only once the function is over: what that has used
        (a connection) is used by nobody else meanwhile.
        In the hub itself, which cannot wait, and on threads beside the main one, which may, the
        function is called as it is.

    Raises:
        BaseException: what the function raised; or what has ended the wait (`gevent.Timeout`,
            `GreenletExit`).
    """
    hub = gevent.get_hub()
    if getcurrent() is hub or not hub.main_hub:
        return fn(*arguments)
    unclaimed = deque([partial(copy_context().run, fn, *arguments)])
    collecting.begin()
    try:
        outcome = _threads(hub).spawn(_outcome_of, unclaimed)
    except BaseException as error:
        collecting.end()
        if not (unclaimed and isinstance(error, RuntimeError)):
            unclaimed.clear()
            raise
        return unclaimed.pop()()  # no thread can be started: as it would be without gevent
    outcome.rawlink(collecting.end)
    return _waited_for(outcome, cut, discard)


def _waited_for(
    outcome: AsyncResult[tuple[Any, BaseException | None]],
    cut: Callable[[], object] | None,
    discard: Callable[[Any], object] | None,
) -> Any:
    try:
        value, error = outcome.get()
    except BaseException as ended:
        if cut is not None:
            cut()
        if discard is not None:
            outcome.rawlink(partial(_discard, discard))
            raise
        last = ended
        while not outcome.ready():
            try:
                outcome.wait()
            except BaseException as again:
                last = again
        try:
            raise last
        finally:
            del last
    if error is None:
        return value
    try:
        raise error
    finally:
        del error, outcome  # the error's traceback holds this frame


def _discard(discard: Callable[[Any], object], outcome: AsyncResult[Any]) -> None:
    value, error = outcome.value
    if error is None:
        discard(value)


def _outcome_of(unclaimed: deque[Callable[[], Any]]) -> tuple[Any, BaseException | None]:
    """What a call returned, and what it raised: gevent would print that."""
    try:
        made = unclaimed.pop()
    except IndexError:  # who submitted it was told that there is no thread, and has made it itself
        return None, None
    try:
        return made(), None
    except BaseException as error:
        return None, error


def _threads(hub: Hub) -> ThreadPool:
    # a fork inherits the hub, but no threads
    if not _made or _made[0].hub is not hub or _made[0].pid != os.getpid():
        _made[:] = [ThreadPool(MOST_THREADS, hub=hub, idle_task_timeout=IDLE_FOR)]
    return _made[0]
