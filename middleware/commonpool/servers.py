"""What uWSGI and gunicorn tell us, and what they need to be told."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from commonpool.errors import ConfigError
from commonpool.process import Server, close, set_server

# A request has to give up before uWSGI kills its whole worker process with all its requests.
SHARE_OF_HARAKIRI = 0.9


class UWSGI(Server):
    """uWSGI, through the module of that name that it puts into its worker processes.

    Args:
        module: that module.
    """

    def __init__(self, module: ModuleType) -> None:
        self._uwsgi: Any = module

    def check(self) -> None:
        """Raise `ConfigError` where uWSGI lets no thread run but between requests."""
        if not getattr(self._uwsgi, "has_threads", 1):
            raise ConfigError(
                "uWSGI runs without threads: workers of the pool would stand still in the middle "
                "of a query. Set 'enable-threads = true' in uwsgi.ini (the default since 2.0.27)."
            )

    def deadline(self) -> float:
        """Nine tenths of ``harakiri``, in seconds; `math.inf` without one."""
        value = self._uwsgi.opt.get("harakiri", b"0")
        if isinstance(
            value, list
        ):  # an option that stands there several times; the last one counts
            value = value[-1]
        try:
            harakiri = float(value)
        except ValueError:
            raise ConfigError(f"harakiri = {value!r}: must be a number of seconds.") from None
        return SHARE_OF_HARAKIRI * harakiri if harakiri > 0 else math.inf

    def at_exit(self, close: Callable[[], None]) -> None:
        """Have `close` called from ``uwsgi.atexit``, before what was there, and from `atexit`.

        In a second interpreter of a worker process (several mounts without
        ``single-interpreter``) uWSGI does not call its hook.
        """
        earlier = getattr(self._uwsgi, "atexit", None)

        def close_and_go_on() -> None:
            try:
                close()
            finally:
                if earlier is not None:
                    earlier()

        self._uwsgi.atexit = close_and_go_on
        super().at_exit(close)


def worker_exit(server: object, worker: object) -> None:
    """Gunicorn's hook: ``from commonpool.servers import worker_exit`` in its config file.

    It closes the pool before gunicorn waits for threads; without it, `atexit` does so later.

    Args:
        server: gunicorn's arbiter; not used.
        worker: gunicorn's worker; not used.
    """
    del server, worker
    close()


def detect() -> None:
    """Tell the process what it runs under."""
    try:
        module = import_module("uwsgi")  # it exists inside uWSGI alone
    except ImportError:
        return
    set_server(UWSGI(module))


detect()
