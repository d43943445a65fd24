"""Proxy: stands between a client and a server, and does to their bytes what a bad network does.

It speaks TCP on 127.0.0.1, on a port of its own that it keeps while it refuses connections, too::

    with Proxy(server_port) as proxy:
        connect(port=proxy.port)
        proxy.delay(0.2)
        proxy.swallow()
        proxy.normal()
        proxy.reset()

Every fault counts at once, for the connections that there are and for those to come, until another
call takes it back. Faults add up, until `normal` ends all.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"

_CHUNK = 1 << 16  # bytes read at once
_CHUNKS_HELD = 16  # chunks that a direction keeps before it reads no more
_SLICE_PAUSE = 0.001  # seconds between two slices: without it the kernel would join them again
_TICKS = 20  # writes in a second where the bandwidth is limited
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, for no time: closing sends a reset
_NO_RESET = struct.pack("ii", 0, 0)


@dataclass(frozen=True, slots=True)
class _Faults:
    """What is done to bytes now."""

    delay: float = 0.0
    bandwidth: float = 0.0  # bytes in a second; 0 for no limit
    slices: int = 0  # bytes; 0 for no limit
    swallows: bool = False

    def piece(self) -> int:
        """How many bytes are written at once."""
        size = self.slices or _CHUNK
        return min(size, max(int(self.bandwidth / _TICKS), 1)) if self.bandwidth else size

    def pause(self, size: int) -> float:
        """How many seconds to leave after a piece of so many bytes."""
        paid = size / self.bandwidth if self.bandwidth else 0.0
        return max(paid, _SLICE_PAUSE) if self.slices else paid


class Proxy:
    """A TCP proxy for tests: a context manager, made for one block.

    Guarantees:
        Bytes arrive unchanged and in order, whatever the fault; a half-closed connection is
        half-closed on the other side.
        Its methods may be called from any thread, and have taken effect when they return.
        When the block ends, no thread, socket or connection of it is left.

    Args:
        server: the port of the server, on 127.0.0.1. It is connected to when a client comes; where
            it refuses, the client is reset.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._faults = _Faults()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._changed = asyncio.Event()
        self._links: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        # Keeps the port while nobody listens on it. It never listens itself.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]

    # Faults

    def delay(self, seconds: float) -> None:
        """Let bytes arrive so many seconds later, in each direction; 0 ends that."""
        self._set(delay=seconds)

    def limit(self, bytes_per_second: float) -> None:
        """Let so many bytes through in a second, in each direction of a connection; 0 ends that."""
        self._set(bandwidth=bytes_per_second)

    def slice(self, size: int) -> None:
        """Write no more than so many bytes at once; 0 ends that."""
        self._set(slices=size)

    def swallow(self) -> None:
        """Be a black hole: connections are accepted and kept, and nothing arrives.

        What was sent meanwhile, closing included, arrives after `normal`.
        """
        self._set(swallows=True)

    def reset(self) -> None:
        """Reset the connections that there are, on both sides. New ones are not touched."""
        self._do(self._end_links())

    def refuse(self) -> None:
        """Refuse new connections. Those that there are go on."""
        self._do(self._stop_accepting())

    def normal(self) -> None:
        """End all faults, and accept connections again."""
        self._do(self._start_accepting())
        self._do(self._change(_Faults()))

    @property
    def connections(self) -> int:
        """How many connections of clients there are."""
        return len(self._links)

    # Its life

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start_accepting())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self._stop_accepting())
        self._do(self._end_links())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _set(self, **values: Any) -> None:
        self._do(self._change(replace(self._faults, **values)))

    # What follows runs on its thread

    async def _change(self, faults: _Faults) -> None:
        self._faults = faults
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _start_accepting(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _stop_accepting(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.remove_reader(listener)
            listener.close()

    async def _end_links(self) -> None:
        links = set(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # gone again
            client, _ = listener.accept()
            ends = (client, _new_socket())
            link = asyncio.create_task(self._link(*ends))
            self._links.add(link)
            link.add_done_callback(lambda _: _close(ends))
            link.add_done_callback(self._links.discard)

    async def _link(self, client: socket.socket, server: socket.socket) -> None:
        """One client's connection: reset, unless both directions have ended in order."""
        for end in (client, server):
            end.settimeout(0)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError, ExceptionGroup):
            await self._held_until(self._loop.time())
            await self._loop.sock_connect(server, (HOST, self._server))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._flow(client, server))
                both.create_task(self._flow(server, client))
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_RESET)

    async def _flow(self, source: socket.socket, target: socket.socket) -> None:
        """One direction of a connection, until its end has arrived."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_HELD)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(source, held))
            both.create_task(self._write(target, held))

    async def _read(self, source: socket.socket, held: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            chunk = await self._loop.sock_recv(source, _CHUNK)
            await held.put((self._loop.time(), chunk))
            if not chunk:
                return

    async def _write(self, target: socket.socket, held: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            came_at, chunk = await held.get()
            if not chunk:
                await self._held_until(came_at)
                target.shutdown(socket.SHUT_WR)
                return
            while chunk:
                await self._held_until(came_at)
                faults = self._faults
                piece, chunk = chunk[: faults.piece()], chunk[faults.piece() :]
                await self._loop.sock_sendall(target, piece)
                await asyncio.sleep(faults.pause(len(piece)))

    async def _held_until(self, came_at: float) -> None:
        """Wait until what came at a moment may go on, by the faults of then."""
        while True:
            faults, changed = self._faults, self._changed
            left = came_at + faults.delay - self._loop.time()
            if not faults.swallows and left <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), None if faults.swallows else left)


def _close(ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        end.close()


def _new_socket() -> socket.socket:
    new = socket.socket()
    new.settimeout(0)
    return new


def _bound(port: int) -> socket.socket:
    # Several sockets may be bound to a port with this option while at most one of them listens.
    new = _new_socket()
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        new.bind((HOST, port))
    except BaseException:
        new.close()
        raise
    return new
