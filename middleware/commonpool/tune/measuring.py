"""One measurement: a server with sizes, a load on it, and what both of them did."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from commonpool.chain.measured import Run, Sizes
from commonpool.tune import probe
from commonpool.tune.errors import TuneError
from commonpool.tune.generator import Generator, own_limit
from commonpool.tune.goal import Goal
from commonpool.tune.load import NO_ANSWER
from commonpool.tune.recording import Recording
from commonpool.tune.serving import Place, Server

_WARM_UP = 0.7  # seconds of the same load before it counts: threads start, connections open
_FEWEST = 30  # requests of a load, so that a p99 says something; a slow load is made longer
_LONGEST = 3.0  # times as long at most

_ALONE_LEAST, _ALONE_MOST = 10, 100
_ALONE_PATIENCE = 60.0

_SETTLE_LIMIT = 5.0  # seconds to answer what an overload has left behind


@dataclass(frozen=True)
class Alone:
    """What one request costs on an idle machine.

    Attributes:
        latencies: seconds.
        processor_seconds: of the worker process, for one request.
        tasks: that the pool ran for one; 0 where that is not known.
    """

    latencies: list[float]
    processor_seconds: float
    tasks: float

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.latencies)


@dataclass
class Measuring:
    """Makes measurements, and writes each of them down.

    Attributes:
        place: of the servers.
        target: path and query of what is asked for.
        generator: of the load.
        recording: where the measurements go.
        told: is called with each of them, as soon as it is made.
        spent: seconds of load so far, warm-ups aside.
        notes: what is to be said of the measuring itself, by setting.
        errors: what requests ended in, and the last exception in the server's log, by setting;
            nothing where they were only late, as under any load that is too much.
        redirect: where the page sends its clients instead; empty where it does not.
    """

    place: Place
    target: str
    generator: Generator
    recording: Recording
    told: Callable[[Run], None]
    spent: float = 0.0
    runs: list[Run] = field(default_factory=list)
    notes: dict[Sizes, str] = field(default_factory=dict)
    errors: dict[Sizes, str] = field(default_factory=dict)
    redirect: str = ""

    def alone(self, sizes: Sizes, seconds: float) -> Alone:
        """Measure single requests.

        Args:
            sizes: of the server.
            seconds: for which they are made, one after another, as far as that goes.

        Raises:
            TuneError: the application does not come up, or does not answer well.
        """
        with self.place.serve(sizes, probed=True) as server:
            url = server.url + self.target
            first = self.generator.one_after_another(url, times=3, patience=_ALONE_PATIENCE)
            if first.failures:
                server.require_running()
                raise TuneError(
                    f"{self.target} answers {', '.join(first.failures)} where nothing else is "
                    f"asked for{_because(server.last_error())}; the log is {server.log}"
                )
            self.redirect = first.redirect
            each = max(min(first.latencies), 1e-4)
            times = int(min(max(seconds / each, _ALONE_LEAST), _ALONE_MOST))
            tasks, used = _tasks(server.tasks), server.processor_seconds()
            load = self.generator.one_after_another(url, times=times, patience=_ALONE_PATIENCE)
            used = server.processor_seconds() - used
            ran = _tasks(server.tasks) - tasks
        if not load.latencies:
            raise TuneError(f"{self.target} answers {', '.join(load.failures)}")
        alone = Alone(load.latencies, used / times, max(ran, 0) / times)
        self.recording.alone(alone.latencies, alone.processor_seconds, alone.tasks)
        return alone

    @contextmanager
    def on(self, sizes: Sizes) -> Iterator[Visit]:
        """Start a server; what it is loaded with are the calls of `Visit.load`.

        Raises:
            TuneError: the application does not come up.
        """
        with self.place.serve(sizes) as server:
            yield Visit(self, server)


@dataclass
class Visit:
    """A server that runs, to be loaded."""

    measuring: Measuring
    server: Server
    _warm: bool = False
    _overloaded: bool = False

    def load(
        self, goal: Goal, rps: float, number: int, seconds: float, *, in_a_hurry: bool = False
    ) -> Run:
        """Load it once.

        Args:
            goal: what is asked of it.
            rps: requests a second.
            number: of the round.
            seconds: of the load; longer where few requests would be due.
            in_a_hurry: not to wait long for answers that come too late anyway.

        Raises:
            TuneError: uWSGI or the generator has ended.
        """
        measuring, server = self.measuring, self.server
        seconds = max(seconds, min(_FEWEST / rps, _LONGEST * seconds))
        url = server.url + measuring.target
        patience = goal.hurry if in_a_hurry else goal.patience
        if not self._warm:
            warm = min(_WARM_UP, seconds)
            measuring.generator.at_rate(
                url, rate=max(rps, 1 / warm), seconds=warm, patience=patience, seed=number
            )
            self._warm = True
        if self._overloaded:
            self._settle(url, patience)
        used = server.processor_seconds()
        with _Peak(server.connections, seconds / 5) as peak:
            load = measuring.generator.at_rate(
                url, rate=rps, seconds=seconds, patience=patience, seed=1000 + number
            )
        used = server.processor_seconds() - used
        server.look_for_workers()  # `max-requests` may have replaced some
        run = Run(
            sizes=server.sizes,
            round=number,
            rps=rps,
            seconds=seconds,
            latencies=load.latencies,
            failures=load.failures,
            processor_seconds=round(max(used, 0.0), 3),
            memory=server.memory(),
            connections=peak.most,
        )
        measuring.recording.run(run)
        measuring.runs.append(run)
        measuring.spent += seconds
        if run.failures:
            error = server.last_error()
            if error or not all(ended.startswith(NO_ANSWER) for ended in run.failures):
                measuring.errors[server.sizes] = ", ".join(run.failures) + _because(error)
        if note := own_limit(load, goal.p99):
            measuring.notes[server.sizes] = note
        measuring.told(run)
        server.require_running()
        self._overloaded = not goal.is_met(run)
        return run

    def _settle(self, url: str, patience: float) -> None:
        """Wait until what an overload has left in the queue is answered."""
        end = time.monotonic() + _SETTLE_LIMIT
        while time.monotonic() < end:
            if self.measuring.generator.one_after_another(
                url, times=1, patience=patience
            ).latencies:
                return


class _Peak:
    """Looks at a number again and again, in a thread, and keeps the greatest."""

    def __init__(self, look: Callable[[], int], every: float) -> None:
        self.most = 0
        self._look = look
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tune-peak", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self._every):
            self.most = max(self.most, self._look())


def _tasks(file: Path) -> int:
    time.sleep(2.5 * probe.EVERY)  # until what was done is told
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _because(error: str) -> str:
    return f" ({error})" if error else ""
