"""Cluster: offloaded calls on a Dask cluster, through distributed's own client."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from commonpool.ext.offload.calls import Call
from commonpool.ext.offload.errors import OffloadError, OffloadUnavailable

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger("commonpool")

# Seconds that connecting to the scheduler may take; and for which it is not tried again.
CONNECTING = 3.0
BACK_OFF = 5.0


class Cluster:
    """A Dask cluster, as far as it is there. Used on the thread of one event loop alone.

    Guarantees:
        A scheduler that is away is asked again after `BACK_OFF` seconds, not for every call.
        A call that is cancelled is cancelled there. Dask cannot stop a function that runs: it goes
        on in its worker, and its result is dropped.

    Dask runs a call again whose worker was lost: it may run more than once.

    Args:
        target: ``dask://host:port`` of the scheduler.
        clock: seconds, monotonic.
    """

    def __init__(self, target: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.address = "tcp" + target.removeprefix("dask")
        self._clock = clock
        self._client: Client | None = None
        self._connecting: asyncio.Task[Client] | None = None
        self._tried_again_at = 0.0
        self._why = ""

    async def run(self, call: Call[object], seconds_left: float) -> object:
        """The result of a call.

        Args:
            call: which.
            seconds_left: until nobody wants it any more; `math.inf` for no limit.

        Raises:
            OffloadUnavailable: the scheduler cannot be reached, or was lost.
            OffloadError: the call has killed too many workers.
            BaseException: what the call raised.
        """
        client = await self._connected(seconds_left / 2)  # the other half is for its fallback
        from distributed import KilledWorker  # noqa: PLC0415 - it takes a second, and is optional

        key = f"{call.name}-{uuid.uuid4().hex}"
        future: Future[object] = client.submit(call, key=key, pure=False)
        try:
            return await future.result()
        except KilledWorker as error:
            raise OffloadError(f"{call.name} has no result: {error}") from None
        except (CancelledError, asyncio.CancelledError) as error:
            current = asyncio.current_task()
            if current is None or not current.cancelling():
                raise OffloadUnavailable(
                    f"{call.name} was lost with the Dask scheduler {self.address}, or cancelled "
                    f"there: {error}"
                ) from None
            if client.status == "running":
                await future.cancel()
            raise

    async def close(self) -> None:
        """Leave the cluster."""
        if self._connecting is not None:
            self._connecting.cancel()
        client, self._client = self._client, None
        if client is not None:
            await client.close(timeout=0.2)

    async def _connected(self, seconds: float) -> Client:
        """The client, connected within some seconds."""
        client = self._client
        if client is not None and client.status == "running":
            return client
        self._client = None
        if self._connecting is None:
            left = self._tried_again_at - self._clock()
            if left > 0:
                raise OffloadUnavailable(self._is_away(f"asked again in {left:.1f} s"))
            self._why = ""
            self._connecting = asyncio.get_running_loop().create_task(self._connect(client))
            self._connecting.add_done_callback(self._has_connected)
        try:
            async with asyncio.timeout(min(seconds, 2 * CONNECTING)):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise OffloadUnavailable(
                self._is_away("it has not answered in the time that there is")
            ) from None

    async def _connect(self, before: Client | None) -> Client:
        from distributed import Client  # noqa: PLC0415 - it takes a second, and is optional

        if before is not None:
            await before.close(timeout=0.2)
        try:
            await self._knock()
            self._client = await Client(
                self.address,
                timeout=CONNECTING,
                asynchronous=True,
                set_as_default=False,
                name="commonpool",
            )
        except (OSError, ImportError) as error:  # the latter where versions do not fit
            self._tried_again_at = self._clock() + BACK_OFF
            self._why = str(error) or "no answer"
            log.warning("%s", self._is_away(f"asked again in {BACK_OFF:.0f} s"))
            raise OffloadUnavailable(self._is_away(f"asked again in {BACK_OFF:.0f} s")) from None
        return self._client

    async def _knock(self) -> None:
        """Raise `OSError` at once where nobody listens: distributed tries until its time is up."""
        parts = urlsplit(self.address)
        async with asyncio.timeout(CONNECTING):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def _has_connected(self, connecting: asyncio.Task[Client]) -> None:
        self._connecting = None
        if not connecting.cancelled():
            connecting.exception()  # those that wait for it have it, if there are any

    def _is_away(self, more: str) -> str:
        why = f" ({self._why})" if self._why else ""
        return f"The Dask scheduler {self.address} is away{why}; {more}."
