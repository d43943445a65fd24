"""Where threads are now, told without keeping alive what they hold."""

from __future__ import annotations

import faulthandler
import os
import re
import tempfile
from traceback import FrameSummary
from typing import IO

_THREAD = re.compile(r"^(?:Current thread|Thread) 0x([0-9a-f]+)")
_CALL = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')


def stacks() -> dict[int, list[FrameSummary]]:
    """The calls that every thread of this process is in, by its ident, the oldest call first.

    `faulthandler` writes them down at one moment. A frame of `sys._current_frames` would keep the
    variables of its call alive beyond that call's end, to be freed on this thread. To free rows,
    mysqlclient locks their connection: the statement that has it by then would be refused.

    It tells of no more than a hundred threads. Empty where there is no file to write to.
    """
    try:
        with _file() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            lines = file.read().splitlines()
    except OSError:
        return {}
    found: dict[int, list[FrameSummary]] = {}
    calls: list[FrameSummary] = []
    for line in lines:
        thread, call = _THREAD.match(line), _CALL.match(line)
        if thread:
            calls = found[int(thread[1], 16)] = []
        elif call:
            calls.insert(0, FrameSummary(call[1], int(call[2]), call[3]))
    return found


def _file() -> IO[str]:
    """A file that is nowhere but in memory, if there are such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stacks"), "w+", encoding="utf-8", errors="replace")
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
