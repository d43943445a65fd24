"""Versions of what is installed beside this program, and of the programs on the path."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import metadata

PACKAGES = (
    *("commonpool", "uwsgi", "pyuwsgi", "flask", "flask-sqlalchemy", "werkzeug", "sqlalchemy"),
    *("mysqlclient", "pymysql", "psycopg", "psycopg2", "gevent", "greenlet"),
)

_SECONDS = 5.0


def installed() -> dict[str, str]:
    """The versions of those `PACKAGES` that are installed, by name."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def uwsgi_version() -> tuple[int, ...] | None:
    """uWSGI's: of the package ``uwsgi`` or ``pyuwsgi``, else of the program on the path."""
    packages = installed()
    for name in ("uwsgi", "pyuwsgi"):
        if name in packages:
            return numbers(packages[name])
    program = shutil.which("uwsgi")
    if program is None:
        return None
    try:
        said = subprocess.run(  # noqa: S603 - what a shell would run by this name, too
            [program, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return numbers(said.stdout)


def numbers(text: str) -> tuple[int, ...] | None:
    """The first version in a text: ``(2, 0, 31)`` of ``2.0.31.post1``; `None` without one."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else None
