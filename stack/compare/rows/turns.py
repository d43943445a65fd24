"""Row 9: whether choosing the next task takes longer the more owners wait."""

from __future__ import annotations

import time

from commonpool import CommonPool, PoolConfig
from commonpool.fair_queue import FairQueue
from commonpool.task import FanOut, Owner, Task
from stack.bench.fan_out import WORKERS, nothing
from stack.compare.peers import COMMONPOOL
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, ratio
from stack.compare.rows.row import Add, LocalRow

KEY = "9"
MANY, TASKS = 1_000, 10_000

ONE_OWNER, MANY_OWNERS = "1 owner", f"{MANY:,} owners"

_REPEATS = 3


def measure(seconds: float, url: str, add: Add) -> None:
    """The fair queue by itself, with the same number of tasks each time."""
    del seconds, url
    taken: dict[str, list[float]] = {ONE_OWNER: [], MANY_OWNERS: []}
    for _ in range(_REPEATS):
        taken[ONE_OWNER].append(choosing(1))
        taken[MANY_OWNERS].append(choosing(MANY))
    for name, values in taken.items():
        add(name, COMMONPOOL, values)


def choosing(owners: int) -> float:
    """Seconds to choose a task, of all tasks of so many owners.

    As many are taken as there are workers, and then given back as done, which is not counted.
    """
    queue = FairQueue(capacity=TASKS, share=WORKERS)
    pool = CommonPool(PoolConfig(max_workers=WORKERS))  # starts no thread before there is a task
    for _ in range(owners):
        fan_out = FanOut(Owner(pool), has_caller=True)
        fan_out.unstarted.extend(Task(nothing, fan_out) for _ in range(TASKS // owners))
        queue.enter(fan_out)
    spent, chosen = 0.0, 0
    while queue.ready:
        began = time.perf_counter()
        tasks = [queue.take() for _ in range(WORKERS)]
        spent += time.perf_counter() - began
        for task in tasks:
            if task is not None:
                queue.finish(task)
                chosen += 1
    if chosen != TASKS:
        raise RuntimeError(f"the queue gave {chosen} of {TASKS} tasks")
    return spent / chosen


def results(recording: Recording) -> list[Result]:
    """The one time by the other."""

    def value(peer: str) -> dict[int, float]:
        return ratio(
            recording.medians(KEY, MANY_OWNERS, peer), recording.medians(KEY, ONE_OWNER, peer)
        )

    return [
        Result(
            row=KEY,
            what=f"{MANY:,} owners waiting: time to choose the next task, divided by that with one",
            limit=1.0,
            target=1.1,
            figures=figures(recording, KEY, MANY_OWNERS, value),
            failures=recording.reasons(KEY),
            shortfall="It takes as many instructions, 177, whatever the number of owners; but the "
            "records of 1,000 are spread over more memory than the nearest caches hold (inferred).",
        )
    ]


ROW = LocalRow(key=KEY, title=f"the queue with {MANY:,} owners", results=results, measure=measure)
