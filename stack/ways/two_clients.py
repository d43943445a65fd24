"""A view with four tasks of 5 s, and two clients who ask for it at once.

Of a pool of four threads, one client waits for the other's tasks; or both do, where the two have
submitted theirs in turn. An event loop for each request has threads for each request: no client
waits, and nothing bounds how many threads there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flask import Flask

from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from stack.ways import Timing
from stack.ways.serving import ask, own_pool, served
from stack.ways.waiting import Waits

TITLE = "Four tasks of 5 s in a view, two clients at once"
COLUMNS = ("first, s", "second, s")

SECONDS = 5.0
TASKS = 4
CLIENTS = 2

Task = Callable[[], None]


def measure(scale: float) -> list[Timing]:
    """Time each way, with tasks of so many times 5 s: both clients' answers."""
    seconds = SECONDS * scale
    timings = []
    for threads in (4, 32):
        with ThreadPoolExecutor(threads) as executor:
            timings.append(
                _timing(f"a global ThreadPoolExecutor of {threads}", seconds, shared(executor))
            )
    timings.append(_timing("asyncio.run in the view, to_thread", seconds, run_in_a_loop))
    with own_pool(max_workers=32):
        timings.append(_timing("run_in_parallel, max_workers=32", seconds, run_in_parallel))
    return timings


def shared(executor: ThreadPoolExecutor) -> Callable[[list[Task]], object]:
    """One executor for the process."""

    def run(tasks: list[Task]) -> object:
        futures = [executor.submit(task) for task in tasks]
        return [future.result() for future in futures]

    return run


def run_in_a_loop(tasks: list[Task]) -> object:
    """An event loop for the request, and threads of its own."""

    async def gather() -> object:
        return await asyncio.gather(*(asyncio.to_thread(task) for task in tasks))

    return asyncio.run(gather())


def _timing(way: str, seconds: float, run: Callable[[list[Task]], object]) -> Timing:
    waits = Waits()
    app = Flask(__name__)
    if run is run_in_parallel:
        FlaskCommonPool(app)

    @app.get("/<float:seconds>")
    def view(seconds: float) -> list[str]:
        run([lambda: waits(seconds)] * TASKS)
        return []

    with served(app) as url:
        ask(f"{url}/0.0", CLIENTS)  # from then on it has its threads, as a process at work does
        answers = ask(f"{url}/{seconds:f}", CLIENTS)
    return Timing(way=way, seconds=tuple(answer.seconds for answer in answers), at_once=waits.peak)
