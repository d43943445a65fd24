"""Where threads are now, told without keeping alive what they hold."""

from __future__ import annotations

import faulthandler
import os
import re
import tempfile
from collections.abc import Callable, Collection
from traceback import FrameSummary
from typing import IO

_THREAD = re.compile(r"^(?:Current thread|Thread) 0x([0-9a-f]+)")
_CALL = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')

others: list[Callable[[Collection[int]], dict[int, list[FrameSummary]]]] = []
"""Asked as `stacks` is, where `threading` knows threads that Python itself does not."""


def stacks(threads: Collection[int]) -> dict[int, list[FrameSummary]]:
    """The calls that threads of this process are in, the oldest first.

    `faulthandler` writes them down at one moment. A frame of `sys._current_frames` would keep the
    variables of its call alive beyond that call's end, to be freed on this thread. To free rows,
    mysqlclient locks their connection: the statement that has it by then would be refused.

    Args:
        threads: their idents.

    Returns:
        By ident; without threads that have ended, or come after a hundred others, and empty where
        there is no file to write to.
    """
    found: dict[int, list[FrameSummary]] = {}
    calls: list[FrameSummary] | None = None
    try:
        with _file() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            for line in file:
                if thread := _THREAD.match(line):
                    ident = int(thread[1], 16)
                    calls = found.setdefault(ident, []) if ident in threads else None
                elif calls is not None and (call := _CALL.match(line)):
                    calls.insert(0, FrameSummary(call[1], int(call[2]), call[3]))
    except OSError:
        pass
    for other in others:
        found |= other(threads)
    return found


def _file() -> IO[str]:
    """A file that is nowhere but in memory, if there are such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stacks"), "w+", encoding="utf-8", errors="replace")
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
