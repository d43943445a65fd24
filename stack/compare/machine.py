"""What it is measured on, and with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stack.compare.peers import Peer
from stack.native.errors import NativeError
from stack.native.programs import find_program

_PACKAGES = ("commonpool", "Flask", "Flask-SQLAlchemy", "SQLAlchemy", "mysqlclient", "pyuwsgi")
_PROGRAMS = {"nginx": "-v", "mariadbd": "--version", "wrk": "-v"}

_LIMIT = 10  # seconds for a program to tell its version


def machine() -> dict[str, str]:
    """The hardware and the system."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def versions(peers: Iterable[Peer]) -> dict[str, str]:
    """Of Python, of the programs, and of the packages that the peers use."""
    found = {platform.python_implementation(): platform.python_version()}
    for program, option in _PROGRAMS.items():
        told = _told(program, option)
        if told:
            found[program] = told
    distributions = [*_PACKAGES, *(name for peer in peers for name in peer.packages.values())]
    for name in dict.fromkeys(distributions):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def busy() -> float:
    """How many processes wanted a processor in the last minute, for each that there is."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _told(program: str, option: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - servers of ours
            [find_program(program), option],
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
    except (NativeError, OSError, subprocess.TimeoutExpired):
        return ""
    numbers = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return numbers[0] if numbers else ""
