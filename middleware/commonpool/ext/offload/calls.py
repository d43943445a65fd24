"""offload: a function whose calls are tasks for another process; and such a call."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

from commonpool.adapters import ASYNC, innermost
from commonpool.task import describe

P = ParamSpec("P")
T = TypeVar("T")

# What pickle raises for what it cannot take, by itself and out of what it asks objects for.
UNPICKLABLE = (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError)


class Call(Generic[T]):
    """One call of a function, pickled and not begun: a task for `run_in_parallel` and `submit`.

    Called itself, it is run in the calling thread.

    Attributes:
        payload: the function, whether `offload` decorates it, and its arguments, pickled.
        name: what a person would call the function.
    """

    __slots__ = ("name", "payload")

    def __init__(self, payload: bytes, name: str) -> None:
        self.payload = payload
        self.name = name

    def __call__(self) -> T:
        """Run it here, with copies of its arguments as everywhere."""
        target, is_decorated, args, kwargs = pickle.loads(self.payload)  # noqa: S301 - our own
        result: T = (target.__wrapped__ if is_decorated else target)(*args, **kwargs)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return Call, (self.payload, self.name)

    def __repr__(self) -> str:
        return f"<Call of {self.name}, {len(self.payload)} bytes>"


class Offloaded(Generic[P, T]):
    """A function whose calls are tasks for another process; what `offload` returns."""

    def __init__(self, fn: Callable[P, T]) -> None:
        update_wrapper(self, fn)
        self._fn = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """A call with these arguments, which are pickled now.

        Raises:
            TypeError: they cannot be pickled.
        """
        name = describe(self._fn)
        is_decorated = found(self._fn) is self  # so that the function's name leads here
        target = self if is_decorated else self._fn
        try:
            payload = pickle.dumps((target, is_decorated, args, kwargs), pickle.HIGHEST_PROTOCOL)
        except UNPICKLABLE as error:
            raise TypeError(
                f"a call of {name} cannot be sent to another process: {error}. Pass plain values, "
                "or what the function can find again (an id, a file's name)."
            ) from error
        return Call(payload, name)

    def __reduce__(self) -> str | tuple[Any, ...]:
        if found(self._fn) is self:
            return str(getattr(self._fn, "__qualname__", ""))
        return offload, (self._fn,)

    def __repr__(self) -> str:
        return f"<offload({describe(self._fn)})>"


def offload(fn: Callable[P, T]) -> Offloaded[P, T]:
    """A function whose calls run in another process: ``run_in_parallel([offload(fn)(1, x=2)])``.

    It may decorate a function of a module as well; a plain call of it is ``fn.__wrapped__(...)``.

    Args:
        fn: what pickle can take: a function or a class of a module, a method of what can be
            pickled, a `functools.partial` of those.

    Raises:
        TypeError: it cannot be called, is asynchronous, or the other process could not find it.
    """
    if isinstance(fn, Offloaded):
        return fn
    if not callable(fn):
        raise TypeError(
            f"offload takes a function, not {type(fn).__name__} ({fn!r:.60}): offload(fn)(*args), "
            "not offload(fn(*args))."
        )
    inner = innermost(fn)
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    if code is not None and code.co_flags & ASYNC:
        raise TypeError(
            f"{describe(fn)} is an async function: no other process has an event loop for it. "
            "Pass it as it is (commonpool.ext.asyncio), or a function that calls asyncio.run."
        )
    check_can_be_found(fn, inner)
    return Offloaded(fn)


def check_can_be_found(fn: Callable[..., Any], inner: Callable[..., Any]) -> None:
    """Raise `TypeError` for a callable that another process could not find by its name.

    Args:
        fn: as it was given.
        inner: what it calls in the end, where it is a partial.
    """
    module, name = getattr(inner, "__module__", None), getattr(inner, "__qualname__", "")
    if isinstance(inner, FunctionType) and ("<lambda>" in name or "<locals>" in name):
        raise TypeError(
            f"{describe(fn)} cannot be found by another process: offload takes functions that "
            "stand in a module, outside of functions (def, not lambda), and values as arguments."
        )
    if module == "__main__":
        raise TypeError(
            f"{describe(fn)} belongs to the program that was started, which another process does "
            "not run again: move it to a module, and import it from there."
        )
    if type(fn) is FunctionType:  # of a module that may still be being loaded, if it decorates
        return
    try:
        pickle.dumps(fn, pickle.HIGHEST_PROTOCOL)
    except UNPICKLABLE as error:
        raise TypeError(f"{describe(fn)} cannot be sent to another process: {error}.") from error


def found(fn: Callable[..., Any]) -> object:
    """What the name of a function leads to; `None` if it leads nowhere."""
    thing: object = sys.modules.get(getattr(fn, "__module__", None) or "")
    for name in getattr(fn, "__qualname__", "").split("."):
        thing = getattr(thing, name, None)
    return thing
