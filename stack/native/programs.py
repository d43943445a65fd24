"""Where the servers' programs are."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from stack.native.errors import NativeError

# Debian keeps servers in sbin, which is not on an ordinary user's PATH.
_ALSO = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin", "/opt/homebrew/sbin")

# PostgreSQL's, of which several versions can be there at once: on Debian and Ubuntu, on Red Hat's
# systems, with Homebrew.
_ROOT = Path("/")
_VERSIONS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)

# What each comes with, on Debian and Ubuntu, and elsewhere.
_PACKAGES = {
    "nginx": ("nginx-light", "nginx"),
    "mariadbd": ("mariadb-server", "MariaDB 10.5 or newer"),
    "mariadb-install-db": ("mariadb-server", "MariaDB 10.5 or newer"),
    "postgres": ("postgresql", "PostgreSQL 13 or newer"),
    "initdb": ("postgresql", "PostgreSQL 13 or newer"),
}


def find_program(name: str) -> str:
    """Return the path of the program ``name``.

    What is on PATH goes before what is elsewhere, and a newer PostgreSQL before an older.

    Raises:
        NativeError: it is not installed; the message says how it can be.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ALSO, *_newest_first()))
    found = shutil.which(name, path=path)
    if found:
        return found
    debian, elsewhere = _PACKAGES.get(name, (name, name))
    remedy = (
        f"sudo apt-get install --no-install-recommends {debian}"
        if shutil.which("apt-get")
        else f"install {elsewhere}"
    )
    raise NativeError(f"{name} is not installed: {remedy}")


def _newest_first() -> list[str]:
    folders = [folder for pattern in _VERSIONS for folder in _ROOT.glob(pattern)]
    return [str(folder) for folder in sorted(folders, key=_version, reverse=True)]


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.parent.name))
