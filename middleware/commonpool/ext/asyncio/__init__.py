"""Coroutines as tasks, on one event loop of the process.

Importing this registers them with `as_task`::

    page, price, users = run_in_parallel([client.get(url), fetch_price, select(User)])

Where an event loop runs already, `run_in_parallel` would block it: there it is
``await run_in_parallel_async(...)``, with the same arguments.
"""

from commonpool.adapters import async_adapters
from commonpool.ext.asyncio.coroutines import coroutine_task
from commonpool.ext.asyncio.parallel import run_in_parallel_async

__all__ = ["run_in_parallel_async"]

if coroutine_task not in async_adapters:
    async_adapters.append(coroutine_task)
