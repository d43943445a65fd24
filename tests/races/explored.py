"""A program for `frontrun`: each of these races in all orders that make a difference.

    FRONTRUN_ACTIVE=1 python -m tests.races.explored NAME [ORDERS]

frontrun runs a few threads one step at a time, and tries every order of their steps that could
have another outcome (dynamic partial-order reduction, at most two preemptions in a run). It knows
the locks that are made while it runs, and the threads that it was given: so the pool's own threads
are among those. What the pool takes for a new thread is a place where one of them waits.
"""

# ruff: noqa: SLF001 - the order of steps inside the pool is what is forced

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from commonpool import (
    CommonPool,
    OwnerExecutor,
    PoolConfig,
    crew,
    dispatch,
    process,
    run_in_parallel,
)
from commonpool.owner import current


def signal() -> threading.Semaphore:
    """What stands for a lock that one thread takes and another releases, to wake it.

    frontrun takes a thread that waits for a lock which it took itself for a deadlock.
    """
    return threading.Semaphore(1)


UNGUARDED = "unguarded"
"""The argument that takes the pool's lock away: frontrun is to find what that breaks."""

MOST = 2000
"""Orders of a race that are tried, unless another number is given."""


class Place:
    """What stands for a `threading.Thread` of the pool: a thread of frontrun's comes for it."""

    def __init__(self, pool_threads: list[Place], **thread: Any) -> None:
        self._work: Callable[[], object] = lambda: thread["target"](*thread["args"])
        self._places = pool_threads
        self.ident = 1

    def start(self) -> None:
        self._places.append(self)

    def run(self) -> None:
        self._work()

    def join(self, timeout: float | None = None) -> None:
        """Nothing: frontrun waits for all of its threads."""


class State:
    """A pool with one worker, a task that it was roused for, and what comes of it."""

    def __init__(self, actors: int) -> None:
        self._places: list[Place] = []
        crew.threading = SimpleNamespace(  # type: ignore[assignment]
            Lock=signal, Thread=lambda **thread: Place(self._places, **thread)
        )
        dispatch.Latch = signal  # type: ignore[misc, assignment]
        self.pool = CommonPool(PoolConfig(max_workers=1))
        process._process.pools = {self.pool.pid: self.pool}
        if UNGUARDED in sys.argv:
            self.pool._dispatch._guard = nullcontext()  # type: ignore[assignment]
        self.executor = OwnerExecutor()
        self.times = 0
        self.outcomes: dict[str, Any] = {}
        self.future = self.executor.submit(self.task)
        self.futures = [self.future]
        self.done = [threading.Semaphore(0) for _ in range(actors)]

    def task(self) -> int:
        self.times += 1
        return self.times

    def worker(self) -> None:
        """Be the pool's worker, until the pool is closed."""
        self._places[0].run()

    def curtain(self) -> None:
        """Have the worker end when all the others have."""
        for done in self.done:
            done.acquire()
        self.pool.shutdown(wait=False)

    # The actors

    def claim(self) -> None:
        """What `future.result()` does before it waits.

        frontrun waits at a condition by asking again and again, and may ask for ever.
        """
        self.future._help(None)

    def cancel(self) -> None:
        self.outcomes["cancel"] = self.future.cancel()

    def expire(self) -> None:
        for fan_out in list(self.executor.owner.fan_outs):
            self.pool.expire(fan_out)

    def end(self) -> None:
        self.executor.end()

    def close(self) -> None:
        self.pool.shutdown(wait=False)

    def submit(self) -> None:
        self.futures.append(self.executor.submit(int))
        self.futures[-1]._help(None)

    def fan_out(self) -> None:
        token = current.set(self.executor)
        try:
            self.outcomes["fan_out"] = run_in_parallel([int, int])
        finally:
            current.reset(token)

    # What has to be so in the end

    def holds(self) -> bool:
        stats = self.pool.stats()
        owner = self.executor.owner
        return (
            all(future.done() for future in self.futures)
            and self.times <= 1
            and (self.times == 0) >= self.future.cancelled()
            and self.outcomes.get("cancel", self.times == 0) == (self.times == 0)
            and self.outcomes.get("fan_out", [0, 0]) == [0, 0]
            and stats.queued == stats.abandoned == stats.owners_waiting == stats.workers == 0
            and not owner.fan_outs
            and not owner.at_workers
        )


RACES: dict[str, list[Callable[[State], None]]] = {
    "claim": [State.claim, State.cancel],
    "claim by two callers": [State.claim, State.claim],
    "deadline": [State.expire],
    "deadline against a claim": [State.expire, State.claim],
    "end of the request": [State.end],
    "end of the request while somebody cancels": [State.end, State.cancel],
    "close": [State.close],
    "close against submit": [State.close, State.submit],
    "close against a fan-out": [State.close, State.fan_out],
    "close against cancel": [State.close, State.cancel],
}


def explore(name: str) -> Any:
    import frontrun  # noqa: PLC0415 - the names of the races are wanted without it, too

    actors = RACES[name]

    def acting(number: int) -> Callable[[State], None]:
        def act(state: State) -> None:
            try:
                actors[number](state)
            finally:
                state.done[number].release()

        return act

    return frontrun.explore(
        setup=lambda: State(len(actors)),
        workers=[State.worker, State.curtain, *[acting(n) for n in range(len(actors))]],
        invariant=State.holds,
        detect_io=False,
        max_executions=int(sys.argv[2]) if len(sys.argv) > 2 else MOST,
        total_timeout=150,
        reproduce_on_failure=0,
    )


if __name__ == "__main__":
    logging.disable()
    found = explore(sys.argv[1])
    print(found.num_explored, found.property_holds)  # noqa: T201 - a program
    if not found.property_holds:
        print(found.explanation)  # noqa: T201
