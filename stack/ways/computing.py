"""Four tasks that compute for 1 s each: what threads cannot help with, and processes can.

Python runs the code of one thread at a time. `EXECUTOR_TYPE="process"` gives tasks to processes,
whose functions must be importable.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask

from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from commonpool.ext.flask_executor import Executor
from stack.ways import Timing
from stack.ways.serving import ask, own_pool, served

TITLE = "Four computations of 1 s in a view"
COLUMNS = ("s",)

SECONDS = 1.0
TASKS = 4
SAMPLE = 200_000
"""Steps that tell how many this machine takes in a second."""

_WARM_UP = 0.05  # seconds: long enough for each process to get a task


def compute(steps: int) -> int:
    """Add up squares."""
    total = 0
    for step in range(steps):
        total += step * step
    return total


def compute_there(steps: int) -> tuple[int, int]:
    """Add up squares; the sum, and which process did it."""
    return compute(steps), os.getpid()


def steps_in(seconds: float) -> int:
    """How many steps this machine takes in so many seconds, alone."""

    def sample() -> float:
        began = time.perf_counter()
        compute(SAMPLE)
        return time.perf_counter() - began

    return max(round(SAMPLE * seconds / min(sample() for _ in range(3))), 1)


def measure(scale: float) -> list[Timing]:
    """Time each way, with computations of so many seconds."""
    steps = steps_in(SECONDS * scale)
    with own_pool():
        return [
            _timing("one after another", Flask(__name__), lambda: _sequential(steps)),
            _in_threads(steps),
            _in_processes(steps),
        ]


def _sequential(steps: int) -> list[tuple[int, int]]:
    return [compute_there(steps) for _ in range(TASKS)]


def _in_threads(steps: int) -> Timing:
    app = Flask(__name__)
    FlaskCommonPool(app)

    def view() -> list[tuple[int, int]]:
        done: list[tuple[int, int]] = run_in_parallel([lambda: compute_there(steps)] * TASKS)
        return done

    return _timing("run_in_parallel", app, view)


def _in_processes(steps: int) -> Timing:
    app = Flask(__name__)
    app.config["EXECUTOR_TYPE"] = "process"
    app.config["EXECUTOR_MAX_WORKERS"] = min(TASKS, len(os.sched_getaffinity(0)))
    executor = Executor(app)

    def view() -> list[tuple[int, int]]:
        futures = [executor.submit(compute_there, steps) for _ in range(TASKS)]
        return [future.result() for future in futures]

    try:
        with _without_interrupts(), app.app_context():  # processes are started for the first task
            for warm in [executor.submit(time.sleep, _WARM_UP) for _ in range(TASKS)]:
                warm.result()
        return _timing('commonpool.ext.flask_executor, EXECUTOR_TYPE="process"', app, view)
    finally:
        executor.shutdown(cancel_futures=True)


def _timing(way: str, app: Flask, view: Callable[[], list[tuple[int, int]]]) -> Timing:
    app.add_url_rule("/", view_func=view)
    with served(app) as url:
        answer = ask(url)[0]
    others = {process for _, process in answer.content} - {os.getpid()}
    note = f"other processes: {len(others)}" if others else ""
    return Timing(way=way, seconds=(answer.seconds,), note=note)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Have processes that are started here ignore Ctrl-C: that is for who started them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
