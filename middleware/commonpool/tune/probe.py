"""Runs in a worker process while single requests are measured: tells how many tasks its pool ran.

uWSGI imports it (``import``), and it writes to the file that a variable names, twice a second.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "TUNE_PROBE_FILE"  # none that the pool would take for a setting of its own
EVERY = 0.2  # seconds


def _tell(path: Path) -> None:
    from commonpool import process  # noqa: PLC0415 - what the application uses, once it is loaded

    while True:
        with suppress(OSError):
            pool = process._process.pools.get(os.getpid())  # noqa: SLF001 - none is to be made
            told = 0
            if pool is not None:
                stats = pool.stats()
                told = stats.run_by_workers + stats.run_by_callers
            beside = path.with_suffix(".new")
            beside.write_text(str(told), encoding="ascii")
            beside.replace(path)
        time.sleep(EVERY)


_path = os.environ.get(VARIABLE)
if _path:
    threading.Thread(target=_tell, args=(Path(_path),), daemon=True, name="tune-probe").start()
