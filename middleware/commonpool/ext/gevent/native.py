"""Calls on native threads, while the greenlet that makes them waits and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

# Threads at most: far above what a process has connections, each of which makes one call at a time.
MOST_THREADS = 1000

# Seconds after which a thread ends that has had nothing to do.
IDLE_FOR = 60.0

# Not the hub's own pool: that has ten threads, and looks up the names of hosts on them.
_pools: WeakKeyDictionary[Hub, ThreadPool] = WeakKeyDictionary()


def call(fn: Callable[..., Any], *arguments: Any, cut: Callable[[], object] | None = None) -> Any:
    """Call a function on a native thread; see `commonpool.greenlets.NativeCall`.

    Guarantees:
        It returns, or raises, only once the function is over: what that has used (a connection)
        is used by nobody else meanwhile.

    Raises:
        BaseException: what the function raised; or what has ended the wait (`gevent.Timeout`,
            `GreenletExit`).
    """
    outcome = _threads().spawn(_outcome_of, fn, arguments)
    try:
        value, error = outcome.get()
    except BaseException:
        if cut is not None:
            cut()
        while not outcome.ready():
            with suppress(BaseException):  # ended once more: it is being ended
                outcome.wait()
        raise
    if error is None:
        return value
    try:
        raise error
    finally:
        del error, outcome  # the error's traceback holds this frame


def _outcome_of(fn: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """What a call returned, and what it raised: gevent would print that."""
    try:
        return fn(*arguments), None
    except BaseException as error:
        return None, error


def _threads() -> ThreadPool:
    hub = gevent.get_hub()
    pool = _pools.get(hub)
    if pool is None:
        pool = _pools[hub] = ThreadPool(MOST_THREADS, hub=hub, idle_task_timeout=IDLE_FOR)
    return pool
