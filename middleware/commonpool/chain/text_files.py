"""Reading files that somebody else wrote: whatever they are, an error is one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from commonpool.chain.model import Unreadable

MOST_BYTES = 64 * 1024 * 1024
"""No configuration is larger; a file that is would only fill the memory."""


class NotReadError(Exception):
    """Something could not be looked at.

    Args:
        what: it was for: ``uwsgi``, ``nginx``, ``compose``, ...
        file: that was looked at.
        line: in it, 0 where there is none.
        message: why it could not be read, in one line.
    """

    def __init__(self, what: str, file: str, line: int, message: str) -> None:
        super().__init__(message)
        self.unreadable = Unreadable(what, file, line, " ".join(message.split()))


def read_bytes(path: str | Path, what: str) -> bytes:
    """What a regular file holds.

    Raises:
        NotReadError: it is missing, no regular file, not to be opened, or larger than 64 MiB.
    """
    name = str(path)
    try:
        # A named pipe would be waited for without O_NONBLOCK.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise NotReadError(what, name, 0, f"cannot be read: {_words(error)}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise NotReadError(what, name, 0, "cannot be read: it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise NotReadError(what, name, 0, "cannot be read: it is no regular file")
        if status.st_size > MOST_BYTES:
            raise NotReadError(
                what,
                name,
                0,
                f"is too large for a configuration: {status.st_size} bytes, read are "
                f"{MOST_BYTES} at most",
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise NotReadError(what, name, 0, f"cannot be read: {_words(error)}") from None
    finally:
        os.close(descriptor)


def read_text(path: str | Path, what: str) -> str:
    """What a regular file holds, as text; bytes that are not UTF-8 are shown by their number.

    Raises:
        NotReadError: as `read_bytes`.
    """
    return read_bytes(path, what).decode("utf-8", "backslashreplace")


def is_file(path: str | Path) -> bool:
    """Whether there is a file of that name; of a name that cannot be one, it is not."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder of that name; of a name that cannot be one, it is not."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
