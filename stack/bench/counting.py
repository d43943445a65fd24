"""What a call costs that does not depend on the machine: instructions, locks, wake-ups, memory."""

from __future__ import annotations

import math
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import count
from types import CodeType, FrameType
from typing import Any

from commonpool import CommonPool, PoolConfig
from commonpool.pace import Pace
from commonpool.process import replacing

TIMES = 25
"""Each call is counted so often, and the least counts: threads may meet in a longer way or two."""

PAUSE = 0.001  # seconds between two looks at whether the workers are asleep


@dataclass(frozen=True)
class Counts:
    """What one call has cost, on this thread and on the workers.

    Attributes:
        instructions: of Python's.
        locks: how often the pool's lock was taken.
        wake_ups: how many workers were woken.
    """

    instructions: int
    locks: int
    wake_ups: int


class CountedPool:
    """A pool, the process's own for a while, of which it is counted what calls cost.

    Args:
        workers: how many it has.
        arrival: seconds that they are taken to need to come; above 0, short tasks are kept.
    """

    def __init__(self, workers: int, arrival: float = 0.0) -> None:
        self.pool = CommonPool(PoolConfig(max_workers=workers, max_queue=100 * workers))
        self._busy = 0
        self._instructions, self._locks, self._wake_ups = Tally(), Tally(), Tally()
        dispatch: Any = self.pool._dispatch  # noqa: SLF001 - it is what is measured
        dispatch.pace = SteadyPace(arrival)
        dispatch._guard = CountedLock(self._locks)  # noqa: SLF001
        rouse = dispatch._crew.rouse  # noqa: SLF001

        def counted_rouse(worker: Any) -> bool:
            self._wake_ups.add()
            woken: bool = rouse(worker)
            return woken

        dispatch._crew.rouse = counted_rouse  # noqa: SLF001

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be the process's pool, and count this thread and those that are started in the block.

        Workers that are at a task when it begins are taken to stay there.
        """
        self._busy = self.pool.stats().busy
        try:
            with replacing(self.pool), counting(self._instructions):
                yield
        finally:
            self.pool.close(1)

    def cost(self, call: Callable[[], object]) -> Counts:
        """What a call costs; it is called beforehand, to warm up."""
        call()
        found = [self._cost_once(call) for _ in range(TIMES)]
        return Counts(*(min(getattr(one, field.name) for one in found) for field in fields(Counts)))

    def _cost_once(self, call: Callable[[], object]) -> Counts:
        self._wait_until_idle()
        tallies = self._instructions, self._locks, self._wake_ups
        before = [tally.number for tally in tallies]
        call()
        self._wait_until_idle()
        return Counts(
            *(tally.number - number for tally, number in zip(tallies, before, strict=True))
        )

    def _wait_until_idle(self) -> None:
        crew: Any = self.pool._dispatch._crew  # noqa: SLF001 - stats() would take the lock
        while len(crew.members) - len(crew.idle) > self._busy:
            time.sleep(PAUSE)


@contextmanager
def counting(instructions: Tally) -> Iterator[None]:
    """Count the instructions of this thread, and of those that are started in the block."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename == __file__:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            instructions.add()
        return trace

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(None)


if sys.version_info >= (3, 12):  # where tracing instructions in several threads crashes (3.12.1)
    MONITORING = sys.monitoring

    @contextmanager
    def counting(instructions: Tally) -> Iterator[None]:
        """Count the instructions of all threads."""

        def count_one(code: CodeType, _offset: int) -> Any:
            if code.co_filename == __file__:
                return MONITORING.DISABLE
            instructions.add()
            return None

        tool, event = MONITORING.PROFILER_ID, MONITORING.events.INSTRUCTION
        MONITORING.use_tool_id(tool, "counting")
        MONITORING.register_callback(tool, event, count_one)
        MONITORING.set_events(tool, event)
        try:
            yield
        finally:
            MONITORING.set_events(tool, 0)
            MONITORING.register_callback(tool, event, None)
            MONITORING.free_tool_id(tool)
            MONITORING.restart_events()


class SteadyPace(Pace):
    """That workers take so many seconds to come, whatever they do."""

    def __init__(self, arrival: float) -> None:
        super().__init__()
        self.arrival = arrival
        self.looked_at = math.inf

    def arrived(self, seconds: float, now: float) -> None:
        """Leave it at that."""


class Tally:
    """A number that any thread may add one to."""

    def __init__(self) -> None:
        self._taken = count()
        self._looks = 0

    def add(self) -> None:
        """Add one."""
        next(self._taken)  # in one step: no other thread comes between

    @property
    def number(self) -> int:
        """How many were added."""
        self._looks += 1
        return next(self._taken) - self._looks + 1


class CountedLock:
    """A lock that counts how often it is taken.

    Args:
        tally: where.
    """

    def __init__(self, tally: Tally) -> None:
        self._lock = threading.Lock()
        self._tally = tally

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take it."""
        taken = self._lock.acquire(blocking)
        if taken:
            self._tally.add()
        return taken

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def bytes_of(make: Callable[[], object]) -> int:
    """How many bytes what is made takes, as long as it is kept."""
    tracemalloc.start()
    try:
        made = make()
        kept, _ = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return kept
