"""What a thread has of its own becomes a greenlet's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import gevent.local
import gevent.monkey
from gevent.hub import MAIN_THREAD_IDENT
from greenlet import getcurrent, greenlet

from commonpool import task
from commonpool.ext.gevent.stacks import know
from commonpool.greenlets import ActsForItsParent, NativeThreadLocal
from commonpool.task import Running, Task

_NATIVE_LOCAL: type = gevent.monkey.get_original("threading", "local")
_native_ident: Callable[[], int] = gevent.monkey.get_original("threading", "get_ident")


def this_greenlet() -> greenlet:
    """The greenlet that runs now, as the code in it sees it."""
    here = getcurrent()
    while isinstance(here, ActsForItsParent) and here.parent is not None:
        here = here.parent
    return here


def is_stranger() -> bool:
    """Whether this is a native thread beside the main one: of gevent's own threadpool, say."""
    return bool(_native_ident() != MAIN_THREAD_IDENT)


class RunningInGreenlet:
    """In the place of `commonpool.task.running`: what this greenlet is running."""

    @property
    def task(self) -> Task | None:
        """The innermost task, if any."""
        return cast("Task | None", getattr(this_greenlet(), "commonpool_task", None))

    @task.setter
    def task(self, running: Task | None) -> None:
        here: Any = this_greenlet()
        here.commonpool_task = running
        know(here)


def replace_thread_locals() -> None:
    """Have what commonpool's modules keep for each thread be kept for each greenlet.

    Those that were imported before gevent patched the standard library have Python's own thread
    locals, which all greenlets of a thread share. gevent's do in their place, but for the task
    that runs: the greenlets of statements have that of their callers. As gevent itself does it, the
    names in the modules are bound anew.
    """
    replaced: dict[int, Any] = {}
    if isinstance(task.running, Running):
        replaced[id(task.running)] = RunningInGreenlet()
    modules = [
        module for name, module in list(sys.modules.items()) if name.startswith("commonpool.")
    ]
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, NativeThreadLocal):
                continue
            if isinstance(value, _NATIVE_LOCAL) and id(value) not in replaced:
                replaced[id(value)] = _of_greenlets(type(value))
            if id(value) in replaced:
                setattr(module, name, replaced[id(value)])


def _of_greenlets(kind: type) -> Any:
    """A local of a class, as it would be had gevent patched before the class was made."""
    own = {name: value for name, value in vars(kind).items() if name not in _MADE_WITH_A_CLASS}
    return type(kind.__name__, (gevent.local.local,), own)()


_MADE_WITH_A_CLASS = {"__dict__", "__weakref__"}
