"""Where the servers' programs are."""

from __future__ import annotations

import os
import shutil

from stack.native.errors import NativeError

# Debian keeps servers in sbin, which is not on an ordinary user's PATH.
_ALSO = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin", "/opt/homebrew/sbin")

# What each comes with, on Debian and Ubuntu, and elsewhere.
_PACKAGES = {
    "nginx": ("nginx-light", "nginx"),
    "mariadbd": ("mariadb-server", "MariaDB 10.5 or newer"),
    "mariadb-install-db": ("mariadb-server", "MariaDB 10.5 or newer"),
}


def find_program(name: str) -> str:
    """Return the path of the program ``name``.

    Raises:
        NativeError: it is not installed; the message says how it can be.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ALSO))
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
