"""What uWSGI knows of its options: their names, and what naming one does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
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


_ORDERS = frozenset({"connect-and-read", "extract", "help", "reload", "stop", "usage", "version"})
"""What uWSGI does, and then ends: nobody means that in a file."""


@cache
def _table() -> dict[str, frozenset[str]]:
    text = files("commonpool.chain").joinpath("uwsgi_options.txt").read_text("utf-8")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {name: frozenset(effects) for name, *effects in lines}


def is_known(name: str) -> bool:
    """Whether uWSGI 2.0 or a plugin that comes with it has an option of this name."""
    return name in _table()


def is_of_plugin(name: str, loaded: Iterable[str]) -> bool:
    """Whether an option may be of a plugin that does not come with uWSGI: begins with its name.

    Args:
        name: of the option.
        loaded: values of ``plugin``: ``dogstatsd``, or ``/usr/lib/uwsgi/dogstatsd_plugin.so``.
    """
    for one in re.split(r"[,\s]+", ",".join(loaded)):
        plugin = one.rpartition("/")[2].removesuffix(".so").removesuffix("_plugin")
        if plugin and name.startswith(plugin):
            return not any(known.startswith(plugin) for known in _table())
    return False


def nearest(name: str) -> str:
    """The option that may be meant by a name that is none; empty where nothing is like it."""
    likely = _table().keys() - _ORDERS
    return next(iter(get_close_matches(name, sorted(likely), n=1, cutoff=0.8)), "")


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
