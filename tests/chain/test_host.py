"""The kernel's limits, on this machine and in folders that look like others."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from commonpool.chain.host import read_host


def machine(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_this_machine_tells_its_limits() -> None:
    values = read_host().values

    assert values["somaxconn"].value == int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert values["nofile"].value == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 0 < values["cpus"].value <= len(os.sched_getaffinity(0))
    assert (
        0 < values["memory"].value <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 2
    )
    assert values["nproc"].value > 1


def test_the_smaller_of_machine_and_group_counts_with_version_2(tmp_path: Path) -> None:
    top = machine(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:       16000000 kB\n",
            "proc/sys/kernel/pid_max": "32768\n",
            "proc/self/cgroup": "0::/app/web\n",
            "sys/fs/cgroup/app/memory.max": "1073741824\n",
            "sys/fs/cgroup/app/web/memory.max": "max\n",
            "sys/fs/cgroup/app/web/pids.max": "512\n",
            "sys/fs/cgroup/app/web/cpu.max": "50000 100000\n",
        },
    )
    values = read_host(top).values

    assert (values["memory"].value, values["memory"].file) == (
        1_073_741_824,
        "/sys/fs/cgroup/app/memory.max",
    )
    assert (values["nproc"].value, values["nproc"].file) == (512, "/sys/fs/cgroup/app/web/pids.max")
    assert (values["cpus"].value, values["cpus"].file) == (0.5, "/sys/fs/cgroup/app/web/cpu.max")


def test_in_a_container_the_group_is_at_the_top(tmp_path: Path) -> None:
    top = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/meminfo": "MemTotal:       16000000 kB\n",
            "sys/fs/cgroup/memory.max": "268435456\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
        },
    )
    values = read_host(top).values

    assert values["memory"].value == 268_435_456
    assert values["cpus"].file == "kernel"


def test_version_1_too(tmp_path: Path) -> None:
    top = machine(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:       16000000 kB\n",
            "proc/self/cgroup": "5:memory:/docker/x\n3:pids:/docker/x\n2:cpu,cpuacct:/docker/x\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
            "sys/fs/cgroup/pids/docker/x/pids.max": "100\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
        },
    )
    values = read_host(top).values

    assert values["memory"].value == 536_870_912
    assert values["nproc"].value == 100
    assert values["cpus"].value == min(1.5, len(os.sched_getaffinity(0)))


def test_no_limit_of_version_1_is_none(tmp_path: Path) -> None:
    top = machine(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:       1000 kB\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    values = read_host(top).values

    assert values["memory"].value == 1_024_000
    assert values["cpus"].file == "kernel"


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    values = read_host(tmp_path).values

    assert set(values) <= {"nofile", "nofile_hard", "nproc", "cpus"}
