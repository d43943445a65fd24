"""The one pool of this process: made at first use, PID-checked, closed at exit."""

from __future__ import annotations

import atexit
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from commonpool.budget import Budget
from commonpool.config import PoolConfig
from commonpool.errors import ConfigError
from commonpool.greenlets import NativeThreadLocal, strangers
from commonpool.pool import CommonPool


class Server:
    """What runs this process. This one: nothing in particular (a script, a shell, any server)."""

    def check(self) -> None:
        """Raise `ConfigError` where threads cannot work."""

    def begin(self) -> None:
        """Called before the pool of a process is made."""

    def deadline(self) -> float:
        """Seconds that a request may take; `math.inf` where the server sets no limit."""
        return math.inf

    def at_exit(self, close: Callable[[], None]) -> None:
        """Have `close` called when the process ends."""
        atexit.register(close)


class _Process:
    """What this process has. A fork inherits it, so pools and locks stand under a process id."""

    def __init__(self) -> None:
        self.server = Server()
        self.at_start: list[Callable[[], None]] = []
        self.config: PoolConfig | None = None
        self.pools: dict[int, CommonPool] = {}
        self.locks: dict[int, threading.Lock] = {}
        self.replaced = 0  # how many `replacing` blocks are being run
        self.closes_at_exit = False


_process = _Process()


def set_server(server: Server) -> None:
    """Name what runs this process (called when `commonpool.servers` is imported)."""
    _process.server = server
    _process.closes_at_exit = False


def at_start(action: Callable[[], None]) -> None:
    """Have something done in every process before its pool is made, in a forked one too.

    No fork hook does that everywhere: servers that fork do not run Python's.
    """
    _process.at_start.append(action)


def configure(config: PoolConfig | None) -> None:
    """Say how large the process's pool is to be, before or after it was made.

    Args:
        config: `None` for the pool that there is, or what the ``COMMONPOOL_*`` variables say.

    Raises:
        ConfigError: it differs from what was said before or from the pool that there is; a
            variable or the server's time limit is wrong; or threads cannot work under this server.
    """
    _process.server.check()
    _process.server.deadline()
    if _process.replaced:
        return
    if config is None:
        PoolConfig.from_env()  # a wrong variable is to be found now, not at the first request
        return
    if not isinstance(config, PoolConfig):
        raise ConfigError(f"config must be a PoolConfig or None, not {config!r:.80}.")
    pool = _process.pools.get(os.getpid())
    present = _process.config if pool is None else pool.config
    if present is not None and present != config:
        raise ConfigError(
            "One process has one pool, and it has a different config already.\n"
            f"  there is: {present}\n"
            f"  asked for: {config}\n"
            "Give both middlewares the same config, or the later one none."
        )
    _process.config = config


def current_pool() -> CommonPool:
    """The pool of this process, made now if there is none.

    Raises:
        ConfigError: there is none, and the ``COMMONPOOL_*`` variables are wrong.
    """
    pid = os.getpid()
    pool = _process.pools.get(pid)
    if pool is None:
        pool = _make(pid)
    if strangers and strangers[0]():
        return _pool_of_stranger(pid)
    return pool


def closed_pool() -> CommonPool:
    """A new pool without workers, that runs everything in its caller."""
    pool = CommonPool(PoolConfig(max_workers=1))
    pool.close(0)
    return pool


class _Stranger(NativeThreadLocal):
    """What a native thread has that is not the greenlets': workers would be its own greenlets."""

    pool: CommonPool | None = None


_stranger = _Stranger()


def _pool_of_stranger(pid: int) -> CommonPool:
    pool = _stranger.pool
    if pool is None or pool.pid != pid:
        pool = _stranger.pool = closed_pool()
    return pool


def _make(pid: int) -> CommonPool:
    # setdefault is one step: of two threads that come at once, both get the same lock; and a lock
    # that another process held when it forked stands under that process's id
    with _process.locks.setdefault(pid, threading.Lock()):
        pool = _process.pools.get(pid)
        if pool is None:
            for action in _process.at_start:
                action()
            _process.server.begin()
            pool = CommonPool(_process.config or PoolConfig.from_env())
            if pool.config.deadline is None:
                pool.request_seconds = _process.server.deadline()
            if not _process.closes_at_exit:  # a fork inherits the hooks too
                _process.closes_at_exit = True
                _process.server.at_exit(close)
            # the pools of other processes came with the fork: their threads did not
            _process.pools = {pid: pool}
        return pool


def freed(budget: Budget, *, wait: bool = True) -> None:
    """A share of a budget may be free again: tell this process's pool, if it has one.

    Args:
        budget: whose.
        wait: for the pool's lock; else the news is dropped while that is held.
    """
    pool = _process.pools.get(os.getpid())
    if pool is not None:
        pool.freed(budget, wait=wait)


def close() -> None:
    """Close this process's pool, if it has one; nothing for a pool inherited by a fork."""
    pool = _process.pools.get(os.getpid())
    if pool is not None:
        pool.close()


def reset() -> None:
    """Close the process's pool and forget it with its config: the next use makes a new one.

    Inside a `replacing` block it does nothing.
    """
    if _process.replaced:  # what is there is the block's own, and what was there waits for its end
        return
    pool = _process.pools.pop(os.getpid(), None)
    _process.config = None
    if pool is not None:
        pool.close()


@contextmanager
def replacing(pool: CommonPool) -> Iterator[None]:
    """Have another pool be the process's, whatever config is asked for, while the block runs."""
    pid = os.getpid()
    outer = _process.pools.get(pid)
    _process.pools[pid] = pool
    _process.replaced += 1
    try:
        yield
    finally:
        _process.replaced -= 1
        if outer is None:
            _process.pools.pop(pid, None)
        else:
            _process.pools[pid] = outer
