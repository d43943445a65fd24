"""What can go wrong with a server, as one line for a person, and the end of its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINES = 15  # of a log: enough for a traceback's end, and still on one screen


class NativeError(Exception):
    """A server could not be started, or ended by itself.

    The first line says what happened and what to do; the last lines of the server's log may
    follow it.
    """


def log_tail(log: Path, lines: int = _LINES) -> str:
    """Return the last ``lines`` of the file ``log``, indented; nothing where there is no file."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(f"\n    {line}" for line in text.splitlines()[-lines:])
