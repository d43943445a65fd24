"""What the probe offloads: a module of its own, so that the other process loads nothing else."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path


def seen_from_there() -> dict[str, object]:
    """Who runs this, and whether that has loaded the application."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "has_application": "tests.servers.probe" in sys.modules,
        "version": list(sys.version_info[:2]),
    }


def held_there(folder: str, gate: str) -> str:
    """Wait until a test has opened a gate."""
    with (Path(folder) / "events").open("a") as file:
        file.write(f"offloaded {os.getpid()}\n")
    while not (Path(folder) / gate).exists():
        time.sleep(0.005)
    return gate


def never_ends(folder: str) -> None:
    """Never end, and never let go of the GIL."""
    with (Path(folder) / "events").open("a") as file:
        file.write(f"offloaded {os.getpid()}\n")
    re.match(r"(a|aa)+b", "a" * 1000)
