"""One run at a time in a folder."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stack.native.errors import NativeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def sole_user(folder: Path, what: str) -> Iterator[None]:
    """Keep others out of ``folder`` for a while. The lock ends with the process, however it ends.

    Args:
        folder: made where it is missing.
        what: the command, for the error.

    Raises:
        NativeError: somebody else is in there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NativeError(
                f"another `{what}` is running in this clone (it uses {folder}): "
                "end that one first with Ctrl-C"
            ) from None
        yield
