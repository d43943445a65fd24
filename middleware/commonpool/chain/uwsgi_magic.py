"""uWSGI's magic variables: ``%d`` and its like, filled in before a file is taken apart."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import socket
import sys
import time
from pathlib import Path

from commonpool.chain.uwsgi_formats import EATEN

_VARIABLE = re.compile(r"%(.)", re.DOTALL)


def lasting(version: tuple[int, ...] | None) -> dict[str, str]:
    """Those that do not depend on a file.

    Args:
        version: of uWSGI, where it is known.
    """
    now = time.time()
    values = {
        "%": "%",
        "(": "%(",
        "\n": EATEN,
        "v": str(Path.cwd()),
        "h": socket.gethostname(),
        "t": str(int(now)),
        "T": str(int(now * 1_000_000)),
        "V": ".".join(map(str, version or ())),
        "k": str(os.cpu_count() or 1),
        "[": "\033",
        "u": str(os.getuid()),
        "g": str(os.getgid()),
        "U": str(os.getuid()),
        "G": str(os.getgid()),
        "b": sys.executable,
    }
    with contextlib.suppress(KeyError):
        values["U"] = pwd.getpwuid(os.getuid()).pw_name
    with contextlib.suppress(KeyError):
        values["G"] = grp.getgrgid(os.getgid()).gr_name
    return values


def of_file(given: str) -> dict[str, str]:
    """Those of a configuration file, ``path`` or ``path:section``."""
    path, _, section = given.rpartition(":") if ":" in given else (given, "", "")
    is_link = Path(path).is_symlink()
    full = str(Path.cwd() / path) if is_link else os.path.realpath(path)
    folder, _, name = full.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    values = {
        "o": path,
        "p": full,
        "s": name,
        "d": f"{folder}/",
        "c": folder.rpartition("/")[2],
        "e": ending if dot else "",
        "n": stem if dot else name,
        "x": section,
        "j": _djb33x(full),
    }
    with contextlib.suppress(OSError):
        values["i"] = str(os.lstat(full).st_ino)
    parts = [part for part in folder.split("/") if part]
    values.update({str(index): "" for index in range(10)})
    values.update({str(index): part for index, part in enumerate(parts[:10])})
    return values


def fill(text: str, values: dict[str, str]) -> str:
    """The text with each ``%x`` replaced; one that uWSGI does not know is replaced by nothing."""
    if "%" not in text:
        return text
    return _VARIABLE.sub(lambda match: values.get(match[1], ""), text)


def _djb33x(text: str) -> str:
    value = 5381
    for byte in os.fsencode(text):
        value = ((value << 5) + value ^ byte) & 0xFFFFFFFF
    return value.to_bytes(4, "little").hex()
