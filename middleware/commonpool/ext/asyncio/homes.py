"""Home: an event loop that tasks run on. The process has one of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from commonpool.ext.asyncio.line import Line

log = logging.getLogger("commonpool")


@dataclass(frozen=True)
class Home:
    """An event loop that tasks run on, and the line of those that wait for their turn on it."""

    loop: AbstractEventLoop
    line: Line

    @property
    def is_here(self) -> bool:
        """Whether this thread runs it."""
        return running_loop() is self.loop


class _Process:
    """What this process has; a fork inherits it, so that all stands under a process id."""

    def __init__(self) -> None:
        self.homes: dict[int, Home] = {}
        self.locks: dict[int, threading.Lock] = {}


_process = _Process()
# Of loops that are not the process's own: there may be one for each request.
_lines: WeakKeyDictionary[AbstractEventLoop, Line] = WeakKeyDictionary()


def process_home() -> Home:
    """That of this process, whose loop is started now if it was not: a daemon thread.

    Raises:
        RuntimeError: the thread cannot be started.
    """
    pid = os.getpid()
    home = _process.homes.get(pid)
    if home is not None:
        return home
    # as in `commonpool.process`: the lock of another process may be held for ever
    with _process.locks.setdefault(pid, threading.Lock()):
        home = _process.homes.get(pid)
        if home is None:
            home = Home(new_event_loop(), Line())
            thread = threading.Thread(
                target=_run, args=(home.loop,), name="commonpool-loop", daemon=True
            )
            try:
                thread.start()
            except BaseException:
                home.loop.close()
                raise
            # What another process had is kept: its loop, closed here, would be disturbed there.
            _process.homes[pid] = home
        return home


def home_of(loop: AbstractEventLoop) -> Home:
    """That of a loop which runs in this thread."""
    home = _process.homes.get(os.getpid())
    if home is not None and home.loop is loop:
        return home
    return Home(loop, _lines.setdefault(loop, Line()))


def new_event_loop() -> AbstractEventLoop:
    """An event loop: uvloop's, where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop()
    loop: AbstractEventLoop = uvloop.new_event_loop()
    return loop


def running_loop() -> AbstractEventLoop | None:
    """The event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _run(loop: AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while not loop.is_closed():
        try:
            loop.run_forever()
            log.error("somebody has stopped the event loop of all requests; it goes on")
        except BaseException:  # SystemExit, say, of what a coroutine has started on its own
            log.exception("what ran on the event loop of all requests would have ended it")
