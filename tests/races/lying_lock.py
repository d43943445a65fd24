"""A lock that stops one thread where it likes, and the races that are forced with it."""

# ruff: noqa: SLF001 - the order of steps inside the pool is what is forced

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, Self

from commonpool import CommonPool
from tests.helpers import wait_until

PATIENCE = 20.0  # seconds for what comes at once, on a machine that is choked
LONG = 60.0  # seconds: a timeout that nothing here waits for
CHANCE = 0.02  # seconds that others have to run into the thread that is stopped, or to finish

VICTIM = "victim"

POSITIONS = 3  # of an acquisition: before it, while the lock is held, after its release


class LyingLock:
    """A lock that lets one thread believe that it merely has to wait for it.

    Each acquisition has three positions: before it, while the lock is held, and after its release.
    The victim, known by its thread's name, is stopped at one of all its positions, until it is
    told to go on; every other thread passes.
    """

    def __init__(self, position: int, victim: str = VICTIM) -> None:
        self._lock = threading.Lock()
        self._victim = victim
        self._stops_at = position
        self.passed = 0
        self._go_on = threading.Event()
        self.stopped = threading.Event()

    def _pass(self) -> None:
        if threading.current_thread().name != self._victim:
            return
        if self.passed == self._stops_at:
            self.stopped.set()
            assert self._go_on.wait(PATIENCE), "nobody told the victim to go on"
        self.passed += 1

    def go_on(self) -> None:
        self._go_on.set()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        self._pass()
        acquired = self._lock.acquire(blocking, timeout)
        if acquired:
            self._pass()
        return acquired

    def release(self) -> None:
        self._lock.release()
        self._pass()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Racer(threading.Thread):
    """A thread that does one thing, and keeps what came of it."""

    def __init__(self, fn: Callable[[], Any], name: str = "racer") -> None:
        super().__init__(name=name, daemon=True)
        self._fn = fn
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._fn()
        except BaseException as error:
            self.outcome = error

    def finish(self) -> Any:
        """Wait for it; what it returned or raised."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it waits for ever"
        return self.outcome


class Task:
    """A task that counts how often it runs."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.times


def lie(pool: CommonPool, position: int, victim: str = VICTIM) -> LyingLock:
    """Put a lying lock in the place of a pool's own. Nobody uses the pool yet."""
    lock = LyingLock(position, victim)
    pool._dispatch._guard = lock
    return lock


def race(lock: LyingLock, victim: Callable[[], Any], *others: Callable[[], Any]) -> list[Any]:
    """Have the victim stopped, the others come one after another, and the victim go on.

    Each of the others has a moment to finish before the next comes: it cannot where it has to wait
    for the victim.

    Returns:
        What the victim and the others returned or raised.
    """
    first = Racer(victim, VICTIM)
    wait_until(lambda: lock.stopped.is_set() or not first.is_alive(), PATIENCE)
    racers = [first]
    for other in others:
        racers.append(Racer(other))
        racers[-1].join(CHANCE)
    lock.go_on()
    return [racer.finish() for racer in racers]


def race_a_worker(
    lock: LyingLock, pool: CommonPool, begin: Callable[[], Any], *others: Callable[[], Any]
) -> list[Any]:
    """The same with a worker as the victim, which `begin` calls.

    Returns:
        What the others returned or raised.
    """
    begin()
    wait_until(lambda: lock.stopped.is_set() or sleeps(lock, pool), PATIENCE)
    racers = []
    for other in others:
        racers.append(Racer(other))
        racers[-1].join(CHANCE)
    lock.go_on()
    return [racer.finish() for racer in racers]


def at_every_position(run: Callable[[int], LyingLock]) -> int:
    """Run a race once for each position, until there are no more; how many there were."""
    for position in itertools.count():
        if not run(position).stopped.is_set():
            assert position >= POSITIONS, "the victim never came to the lock"
            return position
    raise AssertionError


def sleeps(lock: LyingLock, pool: CommonPool) -> bool:
    """Whether a worker that is the victim has done all that it had to. Takes no lock."""
    crew = pool._dispatch._crew
    asleep = len(crew.idle) == len(crew.members) > 0
    return asleep and lock.passed > 0 and lock.passed % POSITIONS == 0


def is_settled(pool: CommonPool) -> bool:
    """Whether nothing is going on, and all counts are back at zero. Takes the lock."""
    stats = pool.stats()
    return (
        stats.queued == stats.abandoned == stats.owners_waiting == stats.busy == 0
        and stats.idle == stats.workers
    )


def assert_settled(pool: CommonPool) -> None:
    wait_until(lambda: is_settled(pool), PATIENCE)
