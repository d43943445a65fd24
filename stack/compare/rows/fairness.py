"""Row 4: what small requests suffer from a large one beside them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median, quantiles

from commonpool import run_in_parallel
from stack.bench.fan_out import WORKERS, in_a_request, start_all
from stack.compare.peers import COMMONPOOL, SHARED
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, ratio
from stack.compare.rows.row import Add, LocalRow

KEY = "4"

CLIENTS, SMALL_TASKS, SMALL_SECONDS = 8, 3, 0.020
LARGE_TASKS, LARGE_SECONDS = 100, 0.050

SMALL_ALONE, SMALL_BESIDE = "p99 of the small, alone", "p99 of the small, beside the large"
LARGE_ALONE, LARGE_BESIDE = "the large, alone", "the large, beside the small"

_LULL = 1.5  # seconds, so that what was measured before is over
_LARGE_REPEATS = 5

Run = Callable[[list[Callable[[], object]]], object]


def measure(seconds: float, url: str, add: Add) -> None:
    """Small clients alone, a large one alone, and both together: first in, first out, and ours."""
    del url
    with ThreadPoolExecutor(WORKERS) as bare:
        start_all(lambda wait: [bare.submit(wait) for _ in range(WORKERS)])
        start_all(lambda wait: run_in_parallel([wait] * WORKERS, timeout=60))

        def first_in_first_out(tasks: list[Callable[[], object]]) -> None:
            for future in [bare.submit(task) for task in tasks]:
                future.result()

        def fair(tasks: list[Callable[[], object]]) -> None:
            in_a_request(lambda: run_in_parallel(tasks))

        runs: dict[str, Run] = {SHARED: first_in_first_out, COMMONPOOL: fair}
        for peer, run in runs.items():
            time.sleep(_LULL)
            add(LARGE_ALONE, peer, [median(large(run) for _ in range(_LARGE_REPEATS))])
            time.sleep(_LULL)
            add(SMALL_ALONE, peer, [p99(beside(run, seconds, with_large=False)[0])])
            small, large_times = beside(run, seconds, with_large=True)
            add(SMALL_BESIDE, peer, [p99(small)])
            add(LARGE_BESIDE, peer, [median(large_times)])


def large(run: Run) -> float:
    """How long a large request takes."""
    return timed(partial(run, [partial(time.sleep, LARGE_SECONDS)] * LARGE_TASKS))


def small(run: Run) -> float:
    """How long a small request takes."""
    return timed(partial(run, [partial(time.sleep, SMALL_SECONDS)] * SMALL_TASKS))


def timed(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def beside(run: Run, seconds: float, *, with_large: bool) -> tuple[list[float], list[float]]:
    """How long the requests of all clients take, of the small ones and of the large one."""
    end = time.perf_counter() + seconds
    taken: tuple[list[float], list[float]] = ([], [])

    def client(request: Callable[[Run], float], times: list[float]) -> None:
        while time.perf_counter() < end:
            times.append(request(run))

    threads = [threading.Thread(target=client, args=(small, taken[0])) for _ in range(CLIENTS)]
    if with_large:
        threads.append(threading.Thread(target=client, args=(large, taken[1])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def p99(times: list[float]) -> float:
    """Below which 99 of 100 lie."""
    return quantiles(times, n=100, method="inclusive")[98]


def results(recording: Recording) -> list[Result]:
    """Ratios: the small one's, and what the large one pays for it."""

    def medians(measure: str, peer: str) -> dict[int, float]:
        return recording.medians(KEY, measure, peer)

    def line(
        what: str, target: float, value: Callable[[str], dict[int, float]], **more: str
    ) -> Result:
        return Result(
            row=KEY,
            what=what,
            limit=1.0,
            target=target,
            figures=figures(recording, KEY, SMALL_BESIDE, value),
            failures=recording.reasons(KEY),
            before=more.get("before", ""),
            reference=more.get("reference"),
        )

    return [
        line(
            f"{CLIENTS} clients with {SMALL_TASKS} x {SMALL_SECONDS * 1000:g} ms beside one with "
            f"{LARGE_TASKS} x {LARGE_SECONDS * 1000:g} ms, {WORKERS} workers: p99 of the small, "
            "divided by theirs alone",
            1.3,
            lambda peer: ratio(medians(SMALL_BESIDE, peer), medians(SMALL_ALONE, peer)),
            before="8.5",
        ),
        line(
            "The large one beside the small, divided by its time under first in, first out",
            1.6,
            lambda peer: ratio(medians(LARGE_BESIDE, peer), medians(LARGE_BESIDE, SHARED)),
            reference=SHARED,
        ),
        line(
            "The large one alone on an idle pool, divided by its time under first in, first out",
            1.0,
            lambda peer: ratio(medians(LARGE_ALONE, peer), medians(LARGE_ALONE, SHARED)),
            reference=SHARED,
        ),
    ]


ROW = LocalRow(
    key=KEY,
    title=f"{CLIENTS} small clients beside a large one",
    results=results,
    measure=measure,
)
