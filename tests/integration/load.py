"""A load of GET requests: so many a second, whether the answers come or not (an open loop).

Each request has a connection of its own, and what it ends in is kept: its status, or what went
wrong. An answer that is not whole is an error, whatever its status says.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from email.message import Message
    from types import TracebackType

PATIENCE = 60.0  # seconds for one request: above every time limit of the stack


@dataclass(frozen=True)
class Answer:
    """What a request ended in.

    Attributes:
        status: of the answer; 0 where there was none, or not all of it.
        seconds: from when the request was due.
        headers: of the answer.
        body: of the answer.
        error: what went wrong.
    """

    status: int
    seconds: float
    headers: Message | None = None
    body: bytes = b""
    error: str = ""


@dataclass
class Load:
    """Sends requests until it is left.

    Args:
        url: of the site.
        path: what is asked for.
        rate: requests a second.
        most: requests under way at a time. Those that are due meanwhile are sent later, and their
            waiting counts.

    Attributes:
        answers: what the requests ended in, so far.
        under_way: how many were sent, and have no answer yet.
    """

    url: str
    path: str
    rate: float
    most: int = 10_000
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.under_way = 0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._send_all(),), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send no more, and wait for the answers that are still to come."""
        self._leaving.set()
        self._thread.join()

    def statuses(self) -> Counter[int | str]:
        """How many requests ended in which status, or error."""
        return Counter(answer.error or answer.status for answer in list(self.answers))

    def with_status(self, status: int) -> list[Answer]:
        """The answers with a status."""
        return [answer for answer in list(self.answers) if answer.status == status]

    async def _send_all(self) -> None:
        places = asyncio.Semaphore(self.most)
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            number = 0
            while not self._leaving.is_set():
                due = start + number / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await places.acquire()
                group.create_task(self._send(due, places))
                number += 1

    async def _send(self, due: float, places: asyncio.Semaphore) -> None:
        self.under_way += 1
        try:
            async with asyncio.timeout(PATIENCE):
                status, headers, body = await self._get()
            answer = Answer(status, time.monotonic() - due, headers, body)
        except (OSError, ValueError, EOFError) as error:  # a TimeoutError is an OSError
            answer = Answer(0, time.monotonic() - due, error=f"{type(error).__name__}: {error}")
        finally:
            self.under_way -= 1
            places.release()
        self.answers.append(answer)

    async def _get(self) -> tuple[int, Message, bytes]:
        to = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(to.hostname, to.port)
        try:
            lines = f"GET {self.path} HTTP/1.1", f"Host: {to.netloc}", "Connection: close", "", ""
            writer.write("\r\n".join(lines).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            first, _, rest = head.partition(b"\r\n")
            headers = BytesHeaderParser().parsebytes(rest)
            body = await reader.readexactly(int(headers["Content-Length"] or -1))
            return int(first.split()[1]), headers, body
        finally:
            writer.close()
