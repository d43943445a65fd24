"""What several of these tests need: a uwsgi.ini, and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

FOLDER = Path(__file__).parent
MARK = "TUNE_TEST_FOLDER"

INI = """\
; sizes that nobody has looked at
[uwsgi]
strict = true
master = true
pythonpath = {folder}
wsgi-file = {folder}/sleepy.py
; one at a time
processes = 1
threads = 1
env = COMMONPOOL_MAX_WORKERS=2
lazy-apps = true
socket = {socket}
"""


def an_ini(folder: Path, text: str = INI, name: str = "uwsgi.ini", socket: str = "") -> Path:
    path = folder / name
    path.write_text(text.format(folder=FOLDER, socket=socket or f"{folder}/production.sock"))
    return path


def environ(folder: Path) -> dict[str, str]:
    """Of the command: without what the machine has set, and with a mark that its children keep."""
    ours = ("COMMONPOOL_", "UWSGI_", "STACK_", "COLUMNS", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, MARK: str(folder)}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "commonpool", "tune", *map(str, arguments)]


def tune(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**environ(cwd), **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )


def start(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environ(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def left_of(folder: Path) -> list[str]:
    """The processes that were started for a test, and run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
