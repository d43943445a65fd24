"""What a fan-out costs by itself: twenty tasks that do nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from commonpool import OwnerExecutor, run_in_parallel
from commonpool.owner import current
from stack.bench.samples import Samples, by_turns

TASKS = 20
WORKERS = 32
CALLS = 50  # in a sample: together some milliseconds, well above the clock's resolution
HARAKIRI_DEADLINE = 27.0  # seconds: nine tenths of the 30 in uwsgi.ini

SEQUENTIAL = "sequential"
BARE = "bare shared ThreadPoolExecutor"
PER_REQUEST = "a ThreadPoolExecutor per request"
OURS = "commonpool"
OURS_WITH_DEADLINE = "commonpool, with a deadline from harakiri"


def nothing() -> None:
    """Do nothing: what is left of the time is the fan-out's."""


def measure(rounds: Iterable[object]) -> dict[str, Samples]:
    """How long a fan-out of twenty tasks takes with each peer, in seconds.

    All pools have 32 workers, started beforehand, as in a process that has been serving for a
    while.
    """
    tasks = [nothing] * TASKS

    def sequential() -> None:
        for task in tasks:
            task()

    def with_executor(executor: ThreadPoolExecutor) -> None:
        for future in [executor.submit(task) for task in tasks]:
            future.result()

    def per_request() -> None:
        with ThreadPoolExecutor(TASKS) as executor:
            with_executor(executor)

    with ThreadPoolExecutor(WORKERS) as bare:
        start_all(lambda wait: [bare.submit(wait) for _ in range(WORKERS)])
        start_all(lambda wait: run_in_parallel([wait] * WORKERS, timeout=60))
        return by_turns(
            {
                SEQUENTIAL: sequential,
                BARE: partial(with_executor, bare),
                PER_REQUEST: per_request,
                OURS: lambda: run_in_parallel(tasks),
                OURS_WITH_DEADLINE: partial(in_a_request, lambda: run_in_parallel(tasks)),
            },
            rounds,
            calls=CALLS,
        )


def in_a_request(call: Callable[[], object]) -> None:
    """Call something as the middleware would have it called in a request with a deadline."""
    executor = OwnerExecutor(time.monotonic() + HARAKIRI_DEADLINE)
    token = current.set(executor)
    try:
        call()
    finally:
        current.reset(token)
        executor.end()


def start_all(submit: Callable[[Callable[[], object]], object]) -> None:
    """Have an executor start all its threads: each has to be there for any to go on."""
    barrier = threading.Barrier(WORKERS)
    submit(lambda: barrier.wait(60))
