"""The application as it is when it is imported, found out in a process of its own (``--load``)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commonpool.chain import application_child
from commonpool.chain.application_modules import Target, search_path, targets
from commonpool.chain.hiding import without_password
from commonpool.chain.model import Application, Engine, Setting, Uwsgi
from commonpool.chain.text_files import NotReadError
from commonpool.chain.versions import installed

_LONGEST = 300
_MOST_BYTES = 10_000_000


def load_application(uwsgi: Uwsgi, *, seconds: float = 30.0) -> Application:
    """Import the application as uWSGI would, and look at its engines and its modes.

    It is imported in a process of its own, with the environment and the path that uWSGI gives it;
    what it prints is kept away, and all of its processes are killed when it has been looked at. No
    connection is made, but by the application itself.

    Args:
        uwsgi: says what to import.
        seconds: that this may take.

    Raises:
        NotReadError: it cannot be imported, or not in time.
    """
    given = targets(uwsgi)
    if not given:
        message = "names no application: there is no module, wsgi-file or mount"
        raise NotReadError("application", uwsgi.file, 0, message)
    found = _in_a_process(uwsgi, given[0], seconds)
    if "error" in found:
        raise _failed(given[0], str(found["error"]))
    place = Setting(True, "application")  # noqa: FBT003
    return Application(
        module=given[0].given,
        engines=[_engine(one) for one in found["engines"]],
        pool_made_at_import=place if found["pool"] else None,
        debug=place if found["debug"] else None,
        loop=Setting("gevent", "application") if found["gevent"] else None,
        packages=installed(),
        adapted=place if found["adapted"] else None,
    )


def _engine(found: Mapping[str, Any]) -> Engine:
    values = {
        name: Setting(value, "application") for name, value in found.items() if name != "name"
    }
    made = Setting(True, "application")  # noqa: FBT003
    return Engine(str(found["name"]), values, made)


def _in_a_process(uwsgi: Uwsgi, target: Target, seconds: float) -> dict[str, Any]:
    folders = [str(folder) for folder in search_path(uwsgi)]
    file = target.file
    if file and folders:
        file = str(Path(folders[0]) / file)
    request = {"module": target.module, "file": file, "path": folders, "chdir": folders[0]}
    with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as asked:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        child = subprocess.Popen(  # noqa: S603 - the application that we were asked to load
            [_python(uwsgi), application_child.__file__, str(report.fileno())],
            env={name: str(setting.value) for name, setting in uwsgi.environ.items()},
            stdin=asked,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[report.fileno()],
            start_new_session=True,
        )
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise _failed(target, f"it takes more than {seconds:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        report.seek(0)
        text = report.read(_MOST_BYTES)
    try:
        found = json.loads(text)
    except ValueError:
        raise _failed(target, f"its process ended with {child.returncode}") from None
    return found if isinstance(found, dict) else {}


def _python(uwsgi: Uwsgi) -> str:
    home = uwsgi.get("home")
    if home is not None:
        for name in ("python", "python3"):
            path = Path(str(home.value)) / "bin" / name
            if path.is_file():
                return str(path)
    return sys.executable


def _failed(target: Target, reason: str) -> NotReadError:
    words = " ".join(without_password(reason).split())[:_LONGEST]
    return NotReadError(
        "application", target.where, target.line, f"{target.given} cannot be imported: {words}"
    )
