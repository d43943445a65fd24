"""UnreadError: what a task has raised, and nobody has asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial

log = logging.getLogger("commonpool")


class UnreadError:
    """An error of a task that nobody has asked for yet.

    Guarantees:
        It is logged once, in the context of its task, when nobody can ask for it any more; or
        never, if it was read.

    Args:
        name: of the task.
        error: what it raised.
        context: what it ran in a copy of: log records carry the id of its request.
        aside: calls something soon, on another thread: this may be let go of in a garbage
            collection, under any lock.
    """

    __slots__ = ("_aside", "_context", "_name", "error")

    def __init__(
        self,
        name: str,
        error: BaseException,
        context: Context,
        aside: Callable[[Callable[[], None]], object],
    ) -> None:
        self._name = name
        self.error: BaseException | None = error
        self._context = context
        self._aside = aside

    def read(self) -> None:
        """Somebody has asked for it."""
        self.error = None

    def __del__(self) -> None:
        error = self.error
        if error is not None:
            message = f"{self._name} failed, and nobody asked for its result"
            with suppress(Exception):  # the interpreter is ending
                self._aside(partial(log_in, self._context, logging.ERROR, message, error))


def log_in(context: Context, level: int, message: str, error: BaseException | None = None) -> None:
    """Log in a copy of a context, from whatever thread.

    What a filter or a handler raises does no harm to what goes on here.
    """
    with suppress(Exception):
        context.copy().run(log.log, level, "%s", message, exc_info=error)
