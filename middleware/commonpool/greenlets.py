"""Greenlets: whether gevent has put them in the place of threads, and what that asks for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

_monkey = sys.modules.get("gevent.monkey")
if TYPE_CHECKING or _monkey is None:
    _Local = threading.local
else:
    _Local = _monkey.get_original("threading", "local")


class NativeThreadLocal(_Local):
    """What belongs to a thread of the operating system, and to all greenlets in it."""


class NativeCall(Protocol):
    """Calls a function on a native thread, and lets other greenlets go on meanwhile."""

    def __call__(
        self,
        fn: Callable[..., Any],
        *arguments: Any,
        cut: Callable[[], object] | None = None,
        discard: Callable[[Any], object] | None = None,
    ) -> Any:
        """What the function returned.

        Args:
            fn: what to call.
            arguments: for it.
            cut: has it fail soon; called where the greenlet that waits for it is ended.
            discard: given what the function has returned after that; then nobody waits for it.
        """


native_calls: list[NativeCall] = []
"""Empty, or the one way to call on a native thread what would block all greenlets."""


strangers: list[Callable[[], bool]] = []
"""Empty, or the one way to ask whether this is a native thread beside that of the greenlets."""


def patched() -> bool:
    """Whether gevent has put greenlets in the place of threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def adapt() -> None:
    """Where gevent has patched the standard library, have the pool's tasks be greenlets."""
    if patched():
        import_module("commonpool.ext.gevent").install()


class ActsForItsParent:
    """A greenlet that does a part of what its parent does, and runs the same task."""
