"""How a host answers requests: what one of them needs, and what the host has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from commonpool.chain.measured import Sizes
from commonpool.plan.stations import Numbers, busy, response_times


@dataclass(frozen=True)
class Request:
    """What one request needs, in the mean.

    Attributes:
        processor: seconds of a core in its worker process, which hold that process's GIL.
        contended: seconds of a core elsewhere on the machine that was measured: the database's, and
            those of what made the load.
        waits: seconds that it waits for its tasks when it is alone, beyond what is contended.
        tasks: that it waits for, side by side as far as there are workers; at least 1.
        cores: of the machine that was measured.
        relative: how long single requests took when they were alone, divided by their mean.
    """

    processor: float
    contended: float
    waits: float
    tasks: float
    cores: int
    relative: Sequence[float] = (1.0,)

    @property
    def alone(self) -> float:
        """Seconds of a request that is alone, and has all workers that it can use."""
        return self.processor + self.contended / min(self.tasks, self.cores) + self.waits

    @classmethod
    def of(
        cls, processor: float, contended: float, tasks: float, cores: int, unloaded: Sequence[float]
    ) -> Request:
        """The request that takes as long, when it is alone, as was measured.

        Args:
            processor: as above.
            contended: as above; what is too much to be true counts as much as can be.
            tasks: as above; a request without tasks waits by itself.
            cores: as above.
            unloaded: seconds of requests that were alone.
        """
        tasks = max(tasks, 1.0)
        mean = float(np.mean(unloaded))
        processor = min(processor, mean)
        contended = min(contended, most_contended(processor, tasks, cores, mean))
        waits = max(mean - processor - contended / min(tasks, cores), 0.0)
        relative = tuple(float(seconds) / mean for seconds in unloaded)
        return cls(processor, contended, waits, tasks, cores, relative)

    def elsewhere(self) -> Request:
        """The same request where the database has a machine of its own, with room.

        It then answers as it did when the request was alone, whatever the load.
        """
        waits = self.waits + self.contended / min(self.tasks, self.cores)
        return replace(self, contended=0.0, waits=waits)


def most_contended(processor: float, tasks: float, cores: int, alone: float) -> float:
    """Seconds of a core that a request's tasks can have used elsewhere, within its time alone."""
    return max(alone - processor, 0.0) * min(tasks, cores)


@dataclass(frozen=True)
class Host:
    """One machine with uWSGI.

    Attributes:
        cores: of it.
        sizes: of uWSGI, the pools and the engines.
    """

    cores: float
    sizes: Sizes

    @property
    def threads(self) -> int:
        """Requests that can be under way; others wait in the listen queue."""
        return self.sizes.processes * self.sizes.threads

    def times(self, request: Request) -> Numbers:
        """Mean seconds of a request while 1, 2, ... `threads` are under way.

        There are two stations. At the processor all cores are shared by what is there (processor
        sharing); a process's own part is one core at a time (its GIL), and a fan-out's, elsewhere,
        so many as it has tasks at once. At the waits, each request has one task done by itself
        (helping) and the others by the workers that its process has left.
        """
        under_way = np.arange(1, self.threads + 1, dtype=np.float64)
        return response_times(
            [self._processor(request, under_way), self._waits(request, under_way)], self.threads
        )

    def capacity(self, request: Request) -> float:
        """Requests a second that it serves at most."""
        return float(self.threads / self.times(request)[-1])

    def width(self, tasks: float, under_way: Numbers) -> Numbers:
        """Tasks that so many requests have done at a time."""
        occupied = busy(self.sizes.processes, under_way)
        workers = np.full(len(under_way), float(self.sizes.max_workers))
        if self.sizes.connections is not None:
            # The caller has one connection, a worker needs one.
            left = self.sizes.connections - under_way / occupied
            workers = np.minimum(workers, np.maximum(left, 0.0))
        wide: Numbers = np.minimum(under_way * tasks, under_way + occupied * workers)
        return wide

    def _processor(self, request: Request, under_way: Numbers) -> Numbers:
        own, other = request.processor, request.contended
        if own + other <= 0:
            return np.full(len(under_way), np.inf)
        wide = min(self.width(request.tasks, np.ones(1))[0], self.cores)
        rates = np.minimum(self.cores / (own + other), under_way / (own + other / wide))
        if own > 0:
            rates = np.minimum(rates, busy(self.sizes.processes, under_way) / own)
        return np.asarray(rates, dtype=np.float64)

    def _waits(self, request: Request, under_way: Numbers) -> Numbers:
        if request.waits <= 0:
            return np.full(len(under_way), np.inf)
        rates = self.width(request.tasks, under_way) / (request.tasks * request.waits)
        return np.asarray(rates, dtype=np.float64)
