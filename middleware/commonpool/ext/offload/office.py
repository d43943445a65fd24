"""Office: what a pool has its offloaded calls run by, and the event loop that waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from commonpool.ext.offload.calls import Call
from commonpool.ext.offload.children import Children, usable_processors
from commonpool.ext.offload.cluster import Cluster
from commonpool.ext.offload.errors import OffloadUnavailable
from commonpool.pool import CommonPool
from commonpool.task import FanOut

# Seconds that closing waits for processes to end. The kernel ends them with their parent anyway.
CLOSING = 0.5


class Office:
    """Where the offloaded calls of one pool go; it ends with that pool.

    Guarantees:
        It has one thread, started with the first call, and runs no code of a user on it but what
        unpickles results.

    Args:
        pool: whose; its config says where calls run.
    """

    def __init__(self, pool: CommonPool) -> None:
        self._pool = pool
        config = pool.config
        self.children = Children(config.offload_workers or usable_processors())
        self.cluster = Cluster(config.offload) if config.offload.startswith("dask:") else None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="commonpool-offload", daemon=True)

    @property
    def where(self) -> str:
        """What runs its calls."""
        if self.cluster is not None:
            return f"the Dask cluster {self.cluster.address}"
        return "a process of this machine"

    def start(self) -> None:
        """Start its thread.

        Raises:
            RuntimeError: no thread can be started.
        """
        try:
            self._thread.start()
        except BaseException:
            self.loop.close()
            raise
        self._pool.when_closed(self.close)

    async def run(self, call: Call[object], fan_out: FanOut) -> object:
        """The result of a call, on behalf of a fan-out."""
        cluster = self.cluster
        if cluster is not None:
            try:
                return await cluster.run(call, fan_out.deadline - self._pool.clock())
            except OffloadUnavailable:
                if self._pool.config.offload_fallback != "local":
                    raise
        return await self.children.run(call, fan_out.owner)

    def call_soon(self, fn: Callable[[], object]) -> bool:
        """Have something called on its thread; whether that is still possible."""
        try:
            self.loop.call_soon_threadsafe(fn)
        except RuntimeError:  # it was closed
            return False
        return True

    def close(self) -> None:
        """End what still runs, the processes, and the thread."""
        offices.pop(self._pool, None)
        if self.call_soon(self.loop.stop) and threading.current_thread() is not self._thread:
            self._thread.join(CLOSING)

    def _live(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        loop.run_forever()
        try:
            loop.run_until_complete(self._end())
        finally:
            loop.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.children.close()
        if self.cluster is not None:
            await self.cluster.close()


offices: dict[CommonPool, Office] = {}
"""That of each pool of this process which has one. A fork has a pool of its own, and its own."""

_locks: dict[CommonPool, threading.Lock] = {}


def office_of(pool: CommonPool) -> Office:
    """That of a pool, started now if there was none.

    Raises:
        RuntimeError: no thread can be started.
    """
    office = offices.get(pool)
    if office is not None:
        return office
    with _locks.setdefault(pool, threading.Lock()):
        office = offices.get(pool)
        if office is None:
            office = Office(pool)
            office.start()
            offices[pool] = office
            if pool.closed:  # in the meantime
                offices.pop(pool, None)
    _locks.pop(pool, None)
    return office
