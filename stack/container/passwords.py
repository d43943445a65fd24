"""``python -m stack.container.passwords FILE...``: makes the passwords that are not there yet.

Each file is readable for whoever can reach its volume: which containers do is said in
docker-compose.yml, and in each of them there is one user.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

_BYTES = 24  # 192 bits, 32 characters


def make(file: Path) -> bool:
    """Write a new password to ``file``, unless there is one. Return whether it was written.

    Whole or not at all: a start that is interrupted leaves no half of a password.

    Raises:
        OSError: it cannot be written.
    """
    if file.exists():
        return False
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("w", encoding="ascii") as written:
        written.write(secrets.token_urlsafe(_BYTES))
        written.flush()
        os.fsync(written.fileno())
    draft.chmod(0o444)
    draft.replace(file)
    return True


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 where all are there now."""
    for name in arguments:
        try:
            made = make(Path(name))
        except OSError as error:
            sys.stderr.write(f"The password cannot be written to {name}: {error.strerror}\n")
            return 1
        sys.stdout.write(f"{name}: {'made' if made else 'is there'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
