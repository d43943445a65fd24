"""The reference application, and beside it the requests of the soak."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flask import Blueprint, abort
from sqlalchemy import func, select

from commonpool import DeadlineExceeded, current_executor, run_in_parallel
from stack.app import create_app, logs
from stack.app.database import db
from stack.app.parameters import count_parameter, seconds_parameter
from stack.soak.counts import FOLDER, CountingHandler, counts
from stack.soak.plan import MOST_SEEDS, plan

FILL_SECONDS = 20.0
SLEEP = 0.5  # seconds: so long that all are asleep at the same time
SHORT = 0.05

soak = Blueprint("soak", __name__, url_prefix="/soak")
_filling = threading.Lock()


@soak.get("/run")
def run() -> dict[str, Any]:
    """Run the plan of ``seed`` with ``tasks`` tasks."""
    steps = plan(count_parameter("seed", default=1, most=MOST_SEEDS), _tasks())
    return {"pid": os.getpid(), "outcomes": [step.run() for step in steps]}


def _tasks() -> int:
    return count_parameter("tasks", default=500, most=5000)


@soak.get("/state")
def state() -> dict[str, Any]:
    """What there is in this process, ``hold`` seconds after the request came."""
    time.sleep(seconds_parameter("hold", default=0.0, most=5))
    gc.collect()  # an unread failure is logged when its future is gone
    return {
        "pid": os.getpid(),
        "pool": asdict(current_executor().pool.stats()),
        "counts": counts.get(),
        "checked_out": db.engine.pool.checkedout(),  # type: ignore[attr-defined]  # a QueuePool
    }


@soak.get("/fill")
def fill() -> dict[str, Any]:
    """Have everything made that a process makes when it is first needed, and then keeps.

    All workers are started, and all connections opened that the engine keeps; each has run a
    statement that could have been stopped; and one was stopped.
    """
    time.sleep(seconds_parameter("hold", default=0.0, most=5))
    most = current_executor().pool.config.max_workers
    barrier = threading.Barrier(most)

    def hold_a_connection() -> None:
        with db.engine.connect():
            barrier.wait(FILL_SECONDS)

    with _filling:
        run_in_parallel([hold_a_connection] * most, timeout=FILL_SECONDS)
        run_in_parallel([select(func.sleep(SLEEP))] * most, timeout=FILL_SECONDS)
        with suppress(DeadlineExceeded):
            run_in_parallel([select(func.sleep(SLEEP))], timeout=SHORT)
    return {"pid": os.getpid()}


def _farewell() -> None:
    """Leave the counts behind, when all that was to be done is done."""
    folder = os.environ.get(FOLDER)
    if folder is not None:
        path = Path(folder, f"{os.getpid()}.json")
        path.write_text(json.dumps(counts.get()), encoding="utf-8")


@soak.before_request
def _only_in_a_soak() -> None:
    if FOLDER not in os.environ:
        abort(404)


# Before the pool has its own: what was registered first is called last.
atexit.register(_farewell)
logs.configure()
logging.getLogger("commonpool").addHandler(CountingHandler())
application = create_app()
application.register_blueprint(soak)
