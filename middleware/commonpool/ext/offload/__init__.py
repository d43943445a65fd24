"""Calls that are too heavy for this process, as tasks that other processes run.

Importing this registers them with `as_task`::

    page, prices = run_in_parallel([offload(render_pdf)(order.id), select(Price)], timeout=5.0)

They run in a few processes of this machine, or on a Dask cluster (``COMMONPOOL_OFFLOAD``).
"""

from commonpool.adapters import as_task, async_adapters
from commonpool.ext.offload.calls import Call, Offloaded, offload
from commonpool.ext.offload.errors import OffloadError, OffloadUnavailable
from commonpool.ext.offload.task import call_task, offload_task

__all__ = ["OffloadError", "OffloadUnavailable", "offload"]

as_task.register(Call, call_task)
as_task.register(Offloaded, lambda offloaded: call_task(offloaded()))
if offload_task not in async_adapters:
    async_adapters.append(offload_task)
