"""as_task: how a thing becomes a task. Adapters register what they know to run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, singledispatch
from types import CodeType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from commonpool.budget import Budget
from commonpool.task import Task, check_callable

ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

budgets: WeakKeyDictionary[CodeType, Budget] = WeakKeyDictionary()
"""Of which budget a function is known to need a share, by its code (adapters find out)."""

async_adapters: list[Callable[[object], Task | None]] = []
"""Asked for a task for what a worker cannot run: what is asynchronous, what another process is to
run; `None` for all else."""


@singledispatch
def as_task(thing: object) -> Task:
    """A task that runs a thing. Register a type to say how things of it are run.

    Raises:
        TypeError: nothing is known to run a thing of this type.
    """
    if async_adapters and (task := _async_task(thing)) is not None:
        return task
    check_callable(thing)
    return of_function(thing)  # type: ignore[arg-type]  # it is callable


@singledispatch
def as_method_task(_receiver: object, call: Callable[[], Any]) -> Task:
    """A task that calls a method. Register the type of a receiver to say how its methods are run.

    Args:
        call: the bound method, or a partial of it.
    """
    return of_function(call)


_any_method_task = as_method_task.dispatch(object)


@as_task.register
def _(method: MethodType) -> Task:
    return _method_task(method.__self__, method)


@as_task.register
def _(call: partial) -> Task:  # type: ignore[type-arg]  # singledispatch takes no parameters
    return _method_task(getattr(innermost(call), "__self__", None), call)


def task_of(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
    """What `submit` was given, as a task.

    Raises:
        TypeError: nothing is known to run it, or it takes no arguments.
    """
    if type(fn) is FunctionType and not fn.__code__.co_flags & ASYNC:
        return of_function(partial(fn, *args, **kwargs) if args or kwargs else fn)
    if not (args or kwargs):
        return as_task(fn)
    given: object = fn
    if not callable(given):
        check_callable(given)
    return as_task(partial(fn, *args, **kwargs))


def mapped_task(fn: Callable[..., Any], args: tuple[Any, ...]) -> Task:
    """What `map` calls, for one item, as a task."""
    call = partial(fn, *args)
    if async_adapters and type(fn) is not FunctionType and (task := _async_task(call)) is not None:
        return task
    return Task(call)


def _method_task(receiver: object, call: Callable[[], Any]) -> Task:
    make = as_method_task.dispatch(type(receiver))
    if make is _any_method_task:
        if async_adapters and (task := _async_task(call)) is not None:
            return task
        check_callable(call)
    return make(receiver, call)


def _async_task(thing: object) -> Task | None:
    """A task for what a worker cannot run; `None` for all else."""
    return next(filter(None, (adapter(thing) for adapter in async_adapters)), None)


def of_function(fn: Callable[[], Any]) -> Task:
    """A task that calls a function, and has its share of the budget that it is known to need."""
    task = Task(fn)
    if budgets:
        task.budget = budget_of(fn)
    return task


def budget_of(fn: Callable[..., Any]) -> Budget | None:
    """Of which budget a function is known to need a share."""
    code = code_of(fn)
    return None if code is None else budgets.get(code)


def code_of(fn: Callable[..., Any]) -> CodeType | None:
    """The code that a callable runs, where it is Python's."""
    inner = innermost(fn)
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return code if isinstance(code, CodeType) else None


def innermost(fn: Callable[..., Any]) -> Callable[..., Any]:
    """What a partial, or a partial of one, calls in the end."""
    while isinstance(fn, partial):
        fn = fn.func
    return fn
