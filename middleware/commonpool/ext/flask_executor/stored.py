"""FutureCollection: futures under keys, for another request to ask for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

RUNNING = "RUNNING"
"""The state of a future whose task has been started, as the standard library calls it."""

MOST = 50
"""Futures in a collection, where nothing else is said: as many as in Flask-Executor."""


class FutureCollection:
    """Futures under keys, the oldest of which go where there would be too many.

    Guarantees:
        Every method and attribute of a future is there as a method that takes its key first, and
        gives `None` where there is no future under that key: `done("report")`.

    Args:
        max_length: how many there may be; `None` for any number.
    """

    def __init__(self, max_length: int | None = MOST) -> None:
        self.max_length = max_length
        self._lock = threading.Lock()
        self._futures: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def add(self, future_key: Hashable, future: Future[Any]) -> None:
        """Keep a future under a key.

        Raises:
            ValueError: there is one under that key.
        """
        with self._lock:
            if future_key in self._futures:
                raise ValueError(f"future_key {future_key} already exists")
            self._futures[future_key] = future
            while self.max_length is not None and len(self._futures) > self.max_length:
                self._futures.popitem(last=False)

    def pop(self, future_key: Hashable) -> Future[Any] | None:
        """The future under a key, which is kept no longer; `None` if there is none."""
        with self._lock:
            return self._futures.pop(future_key, None)

    def __contains__(self, future: object) -> bool:
        with self._lock:
            return any(future is kept for kept in self._futures.values())

    def __len__(self) -> int:
        return len(self._futures)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def of_future(future_key: Hashable, *args: Any, **kwargs: Any) -> Any:
            with self._lock:
                future = self._futures.get(future_key)
            if future is None:
                return None
            if name == "_state" and future.running():  # of a pool's future, it is its task's
                return RUNNING
            value = getattr(future, name)
            return value(*args, **kwargs) if callable(value) else value

        return of_future
