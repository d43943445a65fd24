"""Servers of the uwsgi protocol that fail, and count what they were asked."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class Failing:
    """Reads each request to its end, and never answers.

    Args:
        path: of its UNIX socket.
        closes: ends each connection then; else it keeps them all until it is left.

    Attributes:
        methods: how many requests it has read, by their methods.
    """

    def __init__(self, path: Path, *, closes: bool) -> None:
        self.methods: Counter[str] = Counter()
        self._closes = closes
        self._kept: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._thread = threading.Thread(target=self._serve, name="failing upstream")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        self._thread.join()
        self._listener.close()
        for connection in self._kept:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection.makefile("rb") as file:
                _, size, _ = struct.unpack("<BHB", file.read(4))
                variables = _variables(file.read(size))
                file.read(int(variables["CONTENT_LENGTH"] or 0))
            if self._closes:
                connection.close()
            else:
                self._kept.append(connection)
            self.methods[variables["REQUEST_METHOD"]] += 1


def _variables(packet: bytes) -> dict[str, str]:
    texts = []
    at = 0
    while at < len(packet):
        (length,) = struct.unpack_from("<H", packet, at)
        texts.append(packet[at + 2 : at + 2 + length].decode("latin-1"))
        at += 2 + length
    return dict(zip(texts[::2], texts[1::2], strict=True))
