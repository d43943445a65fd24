"""A request that asks a database in parallel, on a thread of its own, and what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

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
