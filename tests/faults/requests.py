"""A request that asks a database in parallel, on a thread of its own, and what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, literal, select
from sqlalchemy.orm import Session

from commonpool import OwnerExecutor
from commonpool.owner import current

CEILING = 15.0
"""Seconds after which what has a deadline of about one hangs."""


class Request:
    """Something that runs as in a request with a deadline.

    Attributes:
        value: what it has returned.
        error: what it has raised.
    """

    def __init__(self, fn: Callable[[], Any], seconds: float) -> None:
        """Start it.

        Args:
            fn: what it does.
            seconds: until its deadline, from now.
        """
        self.value: Any = None
        self.error: Exception | None = None
        self._fn = fn
        self._executor = OwnerExecutor(time.monotonic() + seconds)
        self._thread = threading.Thread(target=self._run, name="request", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        token = current.set(self._executor)
        try:
            self.value = self._fn()
        except Exception as error:
            self.error = error
        finally:
            self._executor.end()
            current.reset(token)

    def ended(self, limit: float = CEILING) -> Request:
        """Wait for its end; fail after `limit` seconds: then it hangs."""
        self._thread.join(limit)
        assert not self._thread.is_alive(), f"a request has not ended after {limit} s"
        return self


class RequestInTransaction(Request):
    """A request that has begun a transaction, and waits until it may go on."""

    def __init__(self, engine: Engine, go_on: Callable[[Session], Any], seconds: float) -> None:
        """Start it, and wait until its transaction has begun.

        Args:
            engine: of the session.
            go_on: what it does then, with its session.
            seconds: until its deadline, from now.
        """
        begun, self._may_go_on = threading.Event(), threading.Event()

        def work() -> Any:
            with Session(engine) as session:
                session.scalar(select(literal(1)))
                begun.set()
                assert self._may_go_on.wait(CEILING)
                return go_on(session)

        super().__init__(work, seconds)
        assert begun.wait(CEILING)

    def let_go_on(self) -> Request:
        """Let it go on."""
        self._may_go_on.set()
        return self
