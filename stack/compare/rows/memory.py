"""Row 10: what a waiting task weighs."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from commonpool import run_in_parallel
from stack.bench.fan_out import WORKERS, in_a_request, start_all
from stack.compare.peers import COMMONPOOL, SHARED
from stack.compare.recording import Recording
from stack.compare.results import Result, figures
from stack.compare.rows.row import Add, LocalRow

KEY = "10"
MEASURE = "bytes"
TASKS = 10_000
FUTURE = "a Future of the standard library alone"

_LOOK = 0.1  # seconds between two looks at the memory
_LIMIT = 60  # seconds; none of this takes one


def measure(seconds: float, url: str, add: Add) -> None:
    """All workers are held up, and the memory is looked at while the tasks wait."""
    del seconds, url
    with ThreadPoolExecutor(WORKERS) as bare:
        start_all(lambda wait: [bare.submit(wait) for _ in range(WORKERS)])
        start_all(lambda wait: run_in_parallel([wait] * WORKERS, timeout=_LIMIT))

        def shared(tasks: list[Callable[[], None]]) -> None:
            for future in [bare.submit(task) for task in tasks]:
                future.result()

        def fair(tasks: list[Callable[[], None]]) -> None:
            in_a_request(lambda: run_in_parallel(tasks))

        # Who waits for the bare executor's tasks runs none of them.
        add(MEASURE, SHARED, [weight(shared, held_up=WORKERS)])
        add(MEASURE, COMMONPOOL, [weight(fair, held_up=WORKERS + 1)])
    add(MEASURE, FUTURE, [future()])


def weight(run: Callable[[list[Callable[[], None]]], None], *, held_up: int) -> float:
    """Bytes for each of many tasks, of which the first are started and held up."""
    opened = threading.Event()
    arrived = threading.Semaphore(0)

    def wait() -> None:
        arrived.release()
        opened.wait(_LIMIT)

    tasks: list[Callable[[], None]] = [wait] * TASKS
    thread = threading.Thread(target=run, args=(tasks,))
    with traced() as used:
        thread.start()
        try:
            for _ in range(held_up):
                if not arrived.acquire(timeout=_LIMIT):
                    raise RuntimeError(f"fewer than {held_up} tasks were started")
            return settled(used) / TASKS
        finally:
            opened.set()
            thread.join()


def settled(used: Callable[[], int]) -> int:
    """How much is used when no more is taken: the bare executor's caller may still submit."""
    last = -1
    while last != (last := used()):
        time.sleep(_LOOK)
    return last


def future() -> float:
    """Bytes for a future that is not done."""
    with traced() as used:
        futures: list[Future[None]] = [Future() for _ in range(TASKS)]
        return used() / len(futures)


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Yield what tells how many bytes were taken since, and are still used."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def results(recording: Recording) -> list[Result]:
    """Bytes for each task."""
    return [
        Result(
            row=KEY,
            what="Memory for a waiting task of a fan-out",
            unit="bytes",
            before="stdlib Future alone: 1,590 bytes",
            target=700,
            figures=figures(recording, KEY, MEASURE),
            reference=FUTURE,
            failures=recording.reasons(KEY),
            digits=0,
        )
    ]


ROW = LocalRow(key=KEY, title="memory of waiting tasks", results=results, measure=measure)
