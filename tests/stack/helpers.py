"""What several tests of the stack need."""

from __future__ import annotations

import os
import subprocess
import sys

from stack.data.load import Progress
from stack.data.urls import ROOT

EVERY = 50  # the sample has one flight of fifty: all days are among them, and 15 of 16 airlines


class Silent(Progress):
    """Tells nobody."""


def stack_command(*arguments: str) -> subprocess.Popen[str]:
    """Start ``python -m stack`` with the arguments, in a process of its own."""
    environ = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.Popen(
        [sys.executable, "-m", "stack", *arguments],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
