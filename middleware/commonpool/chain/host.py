"""What the kernel lets a process here have: files, processes, memory, processors, connections."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from commonpool.chain.model import Host, Setting

_V1_NO_LIMIT = 1 << 60
"""Above this a memory limit of cgroup v1 is none: it is then the largest multiple of a page."""


def read_host(root: str | Path = "/") -> Host:
    """The limits of this machine, and of the control group that this process is in.

    Args:
        root: of the file system with ``/proc`` and ``/sys``.

    Returns:
        ``somaxconn``, ``nofile``, ``nofile_hard``, ``nproc``, ``memory``, ``cpus``, as far as they
        are known; what is not limited is left out.
    """
    top = Path(root)
    groups = _Groups(top)
    values: dict[str, Setting] = {}
    somaxconn = _number(top / "proc/sys/net/core/somaxconn")
    if somaxconn is not None:
        values["somaxconn"] = Setting(somaxconn, "/proc/sys/net/core/somaxconn")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name, limit in (("nofile", soft), ("nofile_hard", hard)):
        if limit != resource.RLIM_INFINITY:
            values[name] = Setting(limit, "/proc/self/limits")
    for name, found in {
        "nproc": _processes(top, groups),
        "memory": _memory(top, groups),
        "cpus": _processors(groups),
    }.items():
        if found:
            values[name] = min(found, key=lambda setting: float(setting.value))
    return Host(values)


def _processes(top: Path, groups: _Groups) -> list[Setting]:
    found = []
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:  # root has none
        found.append(Setting(limit, "/proc/self/limits"))
    for name in ("proc/sys/kernel/pid_max", "proc/sys/kernel/threads-max"):
        number = _number(top / name)
        if number is not None:
            found.append(Setting(number, f"/{name}"))
    return [*found, *groups.numbers("pids", "pids.max", "pids.max")]


def _memory(top: Path, groups: _Groups) -> list[Setting]:
    found = []
    for line in _text(top / "proc/meminfo").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) > 1 and words[1].isdigit():
            found.append(Setting(int(words[1]) * 1024, "/proc/meminfo"))
    limits = groups.numbers("memory", "memory.max", "memory.limit_in_bytes")
    return [*found, *(one for one in limits if one.value < _V1_NO_LIMIT)]


def _processors(groups: _Groups) -> list[Setting]:
    found = [Setting(len(os.sched_getaffinity(0)), "kernel")]
    for path in groups.files("cpu", "cpu.max"):
        words = _text(path).split()
        if len(words) == 2 and all(word.isdigit() for word in words):  # noqa: PLR2004 - a quota
            found.append(_quota(int(words[0]), int(words[1]), groups.shown(path)))
    for path in groups.files("cpu", "cpu.cfs_quota_us"):
        quota, period = _number(path), _number(path.with_name("cpu.cfs_period_us"))
        if quota is not None and quota > 0 and period:
            found.append(_quota(quota, period, groups.shown(path)))
    return found


def _quota(quota: int, period: int, place: str) -> Setting:
    processors = quota / max(period, 1)
    is_whole = math.isclose(processors, round(processors))
    return Setting(round(processors) if is_whole else processors, place)


class _Groups:
    """The control groups of this process, of version 1 and 2, from the innermost outwards."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._mount = top / "sys/fs/cgroup"
        self._own = {"": "/"}  # controller -> path; of version 2 under ""
        for line in _text(top / "proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for controller in controllers.split(","):
                self._own[controller] = path

    def files(self, controller: str, name: str) -> Iterator[Path]:
        """The files of that name of the process's own group and those around it."""
        for mount, own in (
            (self._mount, self._own[""]),
            (self._mount / controller, self._own.get(controller, "/")),
            (self._mount / "cpu,cpuacct", self._own.get(controller, "/")),
        ):
            parts = [part for part in own.split("/") if part not in ("", ".", "..")]
            for length in range(len(parts), -1, -1):
                path = mount.joinpath(*parts[:length], name)
                if path.is_file():
                    yield path

    def numbers(self, controller: str, second: str, first: str) -> list[Setting]:
        """The limits in the files of version 2 and 1 that have these names."""
        paths = {path: None for name in (second, first) for path in self.files(controller, name)}
        return [
            Setting(number, self.shown(path))
            for path in paths
            if (number := _number(path)) is not None
        ]

    def shown(self, path: Path) -> str:
        """The path as it is on the machine."""
        return f"/{path.relative_to(self._top)}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:  # "max", or nothing
        return None
