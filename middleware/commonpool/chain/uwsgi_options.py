"""What uWSGI knows of its options: their names, and what naming one does."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

ALIASES = {
    "workers": "processes",
    "wsgi": "module",
    "file": "wsgi-file",
    "virtualenv": "home",
    "venv": "home",
    "pyhome": "home",
    "python-path": "pythonpath",
    "pp": "pythonpath",
    "chmod": "chmod-socket",
    "stats-server": "stats",
    "stats-min": "stats-minified",
    "uwsgi-socket": "socket",
    "worker-mount": "mount",
    "logformat": "log-format",
    "pyimport": "import",
    "py-import": "import",
    "python-import": "import",
    "set-ph": "set-placeholder",
    "yml": "yaml",
    "js": "json",
    "py-auto-reload": "py-autoreload",
    "python-auto-reload": "py-autoreload",
    "python-autoreload": "py-autoreload",
    "socket-send-timeout": "so-send-timeout",
    "socket-write-timeout": "so-send-timeout",
    "so-write-timeout": "so-send-timeout",
    "harakiri-no-arh": "no-harakiri-after-req-hook",
    "no-harakiri-arh": "no-harakiri-after-req-hook",
    "offload-thread": "offload-threads",
    "threads-stacksize": "thread-stacksize",
    "thread-stack-size": "thread-stacksize",
    "threads-stack-size": "thread-stacksize",
}
"""Other names of options that uWSGI keeps in one place, so that the last of either counts."""

STRUCTURE = frozenset(
    {
        *("for", "for-glob", "for-times", "for-readline", "endfor", "end-for"),
        *("if-opt", "if-not-opt", "if-env", "if-not-env", "ifenv", "if-reload", "if-not-reload"),
        *("if-hostname", "if-not-hostname", "if-hostname-match", "if-not-hostname-match"),
        *("if-exists", "if-not-exists", "ifexists", "if-plugin", "if-not-plugin", "ifplugin"),
        *("if-file", "if-not-file", "if-dir", "if-not-dir", "ifdir", "if-directory"),
        *("end", "endif", "end-if"),
    }
)
"""What steers the reading, and is no option of the server."""


@cache
def _table() -> dict[str, frozenset[str]]:
    text = files("commonpool.chain").joinpath("uwsgi_options.txt").read_text("utf-8")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {name: frozenset(effects) for name, *effects in lines}


def is_known(name: str) -> bool:
    """Whether uWSGI 2.0 or a plugin that comes with it has an option of this name."""
    return name in _table()


def is_immediate(name: str) -> bool:
    """Whether it counts as soon as it is read, with its value as it stands there."""
    return "immediate" in _table().get(name, ())


def implied(name: str) -> tuple[str, ...]:
    """The flags that naming this option turns on: ``master``, ``enable-threads``."""
    effects = _table().get(name, ())
    return (("master",) if "master" in effects else ()) + (
        ("enable-threads",) if "threads" in effects else ()
    )


def is_flag(name: str) -> bool:
    """Whether its value is yes or no."""
    return "flag" in _table().get(name, ())


def is_number(name: str) -> bool:
    """Whether its value is a number."""
    return "number" in _table().get(name, ())
