"""What an executor's tasks and callbacks find around them: application, request, and `g`."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from flask import Flask, g, has_app_context

from commonpool.owner import current
from commonpool.task import context_runner


def app_context_of(apps: list[Flask]) -> AbstractContextManager[object]:
    """The app context to submit in: the one that there is, or else that of the only application.

    Raises:
        RuntimeError: there is none, and more than one application, or none at all.
    """
    if has_app_context():
        return nullcontext()
    if len(apps) != 1:
        raise RuntimeError(
            f"The executor has {len(apps)} applications, and it was not said for which this is: "
            "submit in a request, or inside `with app.app_context():`."
        )
    return apps[0].app_context()


class WithValuesOfG(partial[Any]):
    """A function that finds in its `g` what is in the `g` of here.

    But for names that begin with an underscore: those are the extensions' own (the user that
    Flask-Login has loaded in this request's session, say), and are made anew where they are wanted.

    A partial, so that who looks for what is called finds that.
    """

    def __init__(self, _fn: Callable[[], Any]) -> None:
        self._values = {name: g.get(name) for name in g if not name.startswith("_")}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        for name, value in self._values.items():
            setattr(g, name, value)
        return super().__call__(*args, **kwargs)


class InContext:
    """A function that is called, wherever that is, in the contexts in which this was made.

    It is no part of the request there: what it submits in turn is not the request's.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._context = contextvars.copy_context()
        self._context.run(current.set, None)
        self._runner = context_runner()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        context, runner, fn = self._context.copy(), self._runner, self._fn
        if runner is None:
            return context.run(fn, *args, **kwargs)
        return context.run(runner, lambda: fn(*args, **kwargs))
