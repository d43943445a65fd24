"""When a statement ran, and on which thread: told by the engine, wherever it is executed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Engine, Executable

_OPTION = "stack_stopwatch"


class Stopwatch:
    """Notes when one thing began and ended, and on which thread.

    Attributes:
        start: the moment on the clock of ``time.perf_counter``, in seconds.
        end: the same.
        thread: which ran it; `None` as long as it was not begun.
    """

    thread: threading.Thread | None = None
    start = 0.0
    end = 0.0

    def begin(self) -> None:
        """It begins now, on this thread; what was noted before counts no more."""
        self.thread = threading.current_thread()
        self.start = self.end = time.perf_counter()

    def stop(self) -> None:
        """It has ended now; a later call says that it was not yet at its end."""
        self.end = time.perf_counter()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def timed(statement: Executable, stopwatch: Stopwatch) -> Executable:
    """Return the statement with a stopwatch, for an engine that `listen` was called for."""
    return statement.execution_options(**{_OPTION: stopwatch})


def listen(engine: Engine) -> None:
    """Have the stopwatches of statements run from when one is sent until the database answered.

    Where commonpool executes a statement, its rows have been fetched by then: it does that in a
    listener to all engines, and those come before the ones of a single engine.
    """
    # Before all others of this engine: the latency that is added is part of the time.
    event.listen(engine, "before_cursor_execute", _begin, insert=True)
    event.listen(engine, "after_cursor_execute", _stop)


def _begin(*arguments: Any) -> None:
    stopwatch = _stopwatch_of(arguments)
    if stopwatch is not None:
        stopwatch.begin()


def _stop(*arguments: Any) -> None:
    stopwatch = _stopwatch_of(arguments)
    if stopwatch is not None:
        stopwatch.stop()


def _stopwatch_of(arguments: tuple[Any, ...]) -> Stopwatch | None:
    _connection, _cursor, _text, _parameters, context, _executemany = arguments
    stopwatch: Stopwatch | None = (
        None if context is None else context.execution_options.get(_OPTION)
    )
    return stopwatch
