"""What /proc tells of a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process at one moment.

    Attributes:
        rss: resident memory, in KiB.
        threads: of it.
        descriptors: open ones, of any kind.
        tcp: open TCP sockets, those that listen included.
        unix: open UNIX sockets, those that listen included.
        kinds: how many descriptors there are of each kind, by what /proc says that they are.
    """

    rss: int
    threads: int
    descriptors: int
    tcp: int
    unix: int
    kinds: Mapping[str, int]


def memory_and_threads(pid: int) -> tuple[int, int]:
    """Resident memory in KiB, and how many threads there are.

    Raises:
        OSError, KeyError: the process has ended.
    """
    fields = dict(
        line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines()
    )
    return int(fields["VmRSS"].split()[0]), int(fields["Threads"])


def look(pid: int) -> Process:
    """Look at a process.

    Raises:
        OSError, KeyError: it has ended.
    """
    rss, threads = memory_and_threads(pid)
    links = list(_links(pid))
    inodes = {link.removeprefix("socket:[").rstrip("]") for link in links if "socket:" in link}
    return Process(
        rss=rss,
        threads=threads,
        descriptors=len(links),
        tcp=len(inodes & {*_inodes(pid, "tcp", 9), *_inodes(pid, "tcp6", 9)}),
        unix=len(inodes & {*_inodes(pid, "unix", 6)}),
        kinds=Counter(link.split("[")[0] for link in links),
    )


def _links(pid: int) -> Iterator[str]:
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except FileNotFoundError:  # closed since it was listed
            continue


def _inodes(pid: int, family: str, column: int) -> Iterator[str]:
    # proc(5): the tables of sockets, one line each after the heading
    for line in (PROC / str(pid) / "net" / family).read_text().splitlines()[1:]:
        yield line.split()[column]
