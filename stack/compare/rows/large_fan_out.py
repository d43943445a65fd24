"""Row 8: what a task costs in a large fan-out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from commonpool import run_in_parallel
from stack.bench.fan_out import WORKERS, in_a_request, nothing, start_all
from stack.bench.samples import by_turns
from stack.compare.peers import COMMONPOOL, SEQUENTIAL, SHARED
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, scaled
from stack.compare.rows.row import Add, LocalRow

KEY = "8"
MEASURE = "seconds"
TASKS = 10_000

_TURNS = 3


def measure(seconds: float, url: str, add: Add) -> None:
    """Ten thousand tasks that do nothing, all workers started beforehand."""
    del seconds, url
    tasks: list[Callable[[], object]] = [nothing] * TASKS

    def sequential() -> None:
        for task in tasks:
            task()

    with ThreadPoolExecutor(WORKERS) as bare:
        start_all(lambda wait: [bare.submit(wait) for _ in range(WORKERS)])
        start_all(lambda wait: run_in_parallel([wait] * WORKERS, timeout=60))

        def shared() -> None:
            for future in [bare.submit(task) for task in tasks]:
                future.result()

        samples = by_turns(
            {
                SEQUENTIAL: sequential,
                SHARED: shared,
                COMMONPOOL: lambda: in_a_request(lambda: run_in_parallel(tasks)),
            },
            range(_TURNS),
        )
    for peer, measured in samples.items():
        add(MEASURE, peer, measured.seconds)


def results(recording: Recording) -> list[Result]:
    """Microseconds for each task."""
    found = figures(
        recording,
        KEY,
        MEASURE,
        lambda peer: scaled(recording.medians(KEY, MEASURE, peer), 1e6 / TASKS),
    )
    sequential = found.get(SEQUENTIAL)
    return [
        Result(
            row=KEY,
            what=f"One fan-out of {TASKS:,} tasks that do nothing: for each task",
            unit="us",
            limit=sequential.median if sequential else None,
            before="13 us",
            target=2,
            figures=found,
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            digits=2,
        )
    ]


ROW = LocalRow(key=KEY, title=f"one fan-out of {TASKS:,} tasks", results=results, measure=measure)
