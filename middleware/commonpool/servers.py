"""What uWSGI and gunicorn tell us, and what they need to be told."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from commonpool.errors import ConfigError
from commonpool.greenlets import adapt, patched
from commonpool.process import Server, at_start, close, set_server

log = logging.getLogger("commonpool")

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
        """Raise `ConfigError` where the pool cannot work as uWSGI is configured.

        That is where uWSGI lets no thread run but between requests, and in the second interpreter
        of a process, which uWSGI makes for the second application that it mounts: it would have a
        pool of its own, and uWSGI runs no exit hook there.
        """
        if not getattr(self._uwsgi, "has_threads", 1):
            raise ConfigError(
                "uWSGI runs without threads: workers of the pool would stand still in the middle "
                "of a query. Set 'enable-threads = true' in uwsgi.ini (the default since 2.0.27)."
            )
        if in_second_interpreter():
            raise ConfigError(
                "uWSGI runs several Python interpreters: each would have a pool of its own, and all"
                " but the first no exit hook. Set 'single-interpreter = true' in uwsgi.ini."
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
        """Have `close` called from ``uwsgi.atexit``, before what was there, and from `atexit`."""
        earlier = getattr(self._uwsgi, "atexit", None)

        def close_and_go_on() -> None:
            try:
                close()
            finally:
                if earlier is not None:
                    earlier()

        self._uwsgi.atexit = close_and_go_on
        super().at_exit(close)

    def begin(self) -> None:
        """Say so if greenlets serve requests, and nothing is patched for them."""
        if self._uwsgi.opt.get("gevent") and not patched():
            log.error(
                "uWSGI runs gevent, but the standard library is not patched: a request that waits "
                "for the pool, or for anything else, stops all others of its process. Set "
                "'gevent-early-monkey-patch = true' in uwsgi.ini."
            )


def in_second_interpreter() -> bool:
    """Whether this is an interpreter beside the one that the process began with.

    ``uwsgi.opt`` does not tell: of several ``mount`` lines it shows one. But Python lets only the
    first interpreter handle signals, in the process's main thread; nobody may handle SIGKILL, so
    that asking changes nothing. In other threads, or where the main thread is not known by the
    process id (outside Linux), the answer is no.
    """
    if threading.get_native_id() != os.getpid():
        return False
    try:
        signal.signal(signal.SIGKILL, signal.SIG_DFL)
    except ValueError:
        return True
    except OSError:
        return False
    return False


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
    at_start(adapt)
    try:
        module = import_module("uwsgi")  # it exists inside uWSGI alone
    except ImportError:
        return
    set_server(UWSGI(module))


detect()
