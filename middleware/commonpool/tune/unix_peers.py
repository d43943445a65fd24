"""Which path a process's UNIX sockets are connected to. The kernel tells it over netlink alone."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_SHOW_NAME, _SHOW_PEER = 1, 4
_NAME, _PEER = 0, 2

_HEADER = struct.Struct("=IHHII")
_ASK = struct.Struct("=BBHIIIII")
_TOLD = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")


def peer_names() -> dict[int, str]:
    """The path at the other end of each connected UNIX socket of this machine, by its inode.

    Empty where the kernel does not tell (anything but Linux, or a container that forbids it).
    """
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return {}
    names: dict[int, str] = {}
    peers: dict[int, int] = {}
    with suppress(OSError), socket.socket(family, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(1)
        ask = _ASK.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME | _SHOW_PEER, 0, 0)
        length = _HEADER.size + len(ask)
        link.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + ask)
        for inode, name, peer in _sockets(link):
            if name:
                names[inode] = name
            if peer:
                peers[inode] = peer
    return {inode: names[peer] for inode, peer in peers.items() if peer in names}


def socket_inodes(pid: int) -> set[int]:
    """The inodes of a process's sockets; none where it has ended or is another user's."""
    inodes = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError, ValueError):
                target = os.readlink(entry.path)  # noqa: PTH115
                if target.startswith("socket:["):
                    inodes.add(int(target[8:-1]))
    return inodes


def _sockets(link: socket.socket) -> Iterator[tuple[int, str, int]]:
    while True:
        data = link.recv(1 << 17)
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in {_DONE, _ERROR} or length < _HEADER.size:
                return
            yield _socket(data[_HEADER.size : length])
            data = data[-(-length // 4) * 4 :]


def _socket(message: bytes) -> tuple[int, str, int]:
    inode = _TOLD.unpack_from(message)[4]
    name, peer = "", 0
    rest = message[_TOLD.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            break
        value = rest[_ATTRIBUTE.size : length]
        if kind == _NAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif kind == _PEER:
            (peer,) = struct.unpack("=I", value)
        rest = rest[-(-length // 4) * 4 :]
    return inode, name, peer
