"""UnreadError: what a task has raised, and nobody has asked for."""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import Context

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
    """

    __slots__ = ("_context", "_name", "error")

    def __init__(self, name: str, error: BaseException, context: Context) -> None:
        self._name = name
        self.error: BaseException | None = error
        self._context = context

    def read(self) -> None:
        """Somebody has asked for it."""
        self.error = None

    def __del__(self) -> None:
        error = self.error
        if error is not None:
            with suppress(Exception):  # the interpreter is ending, and logging is gone
                message = f"{self._name} failed, and nobody asked for its result"
                log_error(message, error, self._context)


def log_error(message: str, error: BaseException, context: Context) -> None:
    """Log an error in a copy of a context, from whatever thread."""
    context.copy().run(log.error, "%s", message, exc_info=error)
