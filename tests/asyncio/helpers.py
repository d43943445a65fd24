"""What coroutines wait at in tests."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self


class AsyncGate:
    """Holds coroutines until it is opened, by any thread, and counts how many stand at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._is_open = False
        self.inside = 0
        self.peak = 0
        self.cancelled = 0

    async def __call__(self, value: Any = None) -> Any:
        """Stand at the gate, then return `value`."""
        event = asyncio.Event()
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            if self._is_open:
                event.set()
            self._waiting.append((asyncio.get_running_loop(), event))
        try:
            await asyncio.wait_for(event.wait(), 30)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            with self._lock:
                self.inside -= 1
        return value

    def open(self) -> None:
        """Let all pass."""
        with self._lock:
            self._is_open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


async def name_of_thread() -> str:
    """That of the thread that runs this."""
    await asyncio.sleep(0)
    return threading.current_thread().name
