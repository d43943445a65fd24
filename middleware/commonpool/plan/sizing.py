"""What serves a load: the smallest sizes, and how many hosts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from commonpool.chain.measured import Sizes
from commonpool.plan.fitting import Fit, Parameters, Prediction
from commonpool.plan.model import Host, Request
from commonpool.plan.stations import Numbers

MOST_HOSTS = 10_000
MOST_CORES = 256
MOST_UTILISATION = 0.98
"""Of what a host can serve: nearer to it a queue grows for minutes, and no figure is worth much."""

_THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # in a process; beyond, they cost more memory
_WORKERS = (0.5, 1, 2, 3, 4, 6)  # times the tasks of a request
MOST_THREADS = 4096  # of a host
_MARGIN = 1.1  # by which a p99 is to be within the goal at least: what is drawn is not exact
_MORE = 1.3  # times that, for sizes with more to spare
_DRAWN = 6000  # requests for each size that is looked at
_STOPPING = 1  # connection of each process over which it stops statements (docs/operations.md)


def connections(sizes: Sizes) -> int:
    """Connections of one process: its request threads', its workers', one to stop statements."""
    return sizes.threads + sizes.max_workers + _STOPPING


_FEWEST = connections(Sizes(1, 1, 1))


@dataclass(frozen=True)
class Goal:
    """What is asked.

    Attributes:
        rps: requests a second in all.
        p99: seconds.
        hosts: that there are; `None` for as many as it takes.
        cores: of each of them.
        max_connections: of the database; `None` for no limit.
    """

    rps: float
    p99: float
    hosts: int | None
    cores: int
    max_connections: int | None = None


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        goal: that was asked for.
        hosts: for which the sizes are.
        sizes: of each of them.
        prediction: what is expected there; `None` where it is overloaded.
        request: what one needs.
        met: whether the p99 is expected to be within the goal.
        surely: whether its whole interval is.
        hosts_needed: that would do; `None` where none would.
        limits: what would give way first, and how far each is used: ``processor``, ``threads``,
            ``workers``, ``connections``, as shares.
        overload: what the load asks for, as a share of what the hosts can serve.
    """

    goal: Goal
    hosts: int
    sizes: Sizes
    prediction: Prediction | None
    request: Request
    met: bool
    surely: bool
    hosts_needed: int | None
    limits: dict[str, float]
    overload: float

    @property
    def connections(self) -> int:
        """Connections of one process, at most."""
        return connections(self.sizes)

    @property
    def limit(self) -> str:
        """What is used most."""
        return max(self.limits, key=lambda name: self.limits[name])

    @property
    def queries(self) -> float:
        """Tasks a second, which the database would have to serve if all are queries."""
        return self.goal.rps * self.request.tasks

    @property
    def database_cores(self) -> float:
        """Cores, as fast as the measured machine's, that these would keep busy at most."""
        return self.goal.rps * self.request.contended


def answer(fit: Fit, goal: Goal, *, seed: int = 1) -> Answer:
    """Find the smallest sizes that meet a goal, or those that come nearest.

    Args:
        fit: the model.
        goal: what is asked.
        seed: of what is drawn.
    """
    looking = _Looking(fit, goal, seed)
    needed = looking.hosts_needed()
    hosts = goal.hosts or needed or 1
    rps, within = goal.rps / hosts, _limit(goal, hosts)

    def expected(sizes: Sizes) -> Prediction | None:
        host = Host(goal.cores, sizes)
        if rps > MOST_UTILISATION * host.capacity(looking.request):
            return None
        return fit.predict(host, rps, elsewhere=True, seed=seed)

    sizes, prediction = _best(looking.candidates(hosts), expected, goal.p99)
    host = Host(goal.cores, sizes)
    fits = connections(sizes) * sizes.processes <= within
    return Answer(
        goal=goal,
        hosts=hosts,
        sizes=sizes,
        prediction=prediction,
        request=fit.parameters.request,
        met=fits and _is_met(prediction, goal.p99),
        surely=fits and _is_surely_met(prediction, goal.p99),
        hosts_needed=needed,
        limits=_limits(host, looking.request, rps, within),
        overload=rps / host.capacity(looking.request),
    )


def _best(
    candidates: Iterator[Sizes], expected: Callable[[Sizes], Prediction | None], p99: float
) -> tuple[Sizes, Prediction | None]:
    """The first of some sizes that meet a goal surely, else the first that meet it, else the last.

    Args:
        candidates: at least one.
        expected: of the sizes.
        p99: the goal, in seconds.
    """
    known: dict[Sizes, Prediction | None] = {}
    for sizes in candidates:
        if sizes not in known:
            known[sizes] = expected(sizes)
        if _is_surely_met(known[sizes], p99):
            return sizes, known[sizes]
    for sizes, prediction in known.items():
        if _is_met(prediction, p99):
            return sizes, prediction
    return list(known.items())[-1]


def _is_met(prediction: Prediction | None, p99: float) -> bool:
    return prediction is not None and prediction.p99.value <= p99


def _is_surely_met(prediction: Prediction | None, p99: float) -> bool:
    return prediction is not None and prediction.p99.high <= p99


class _Looking:
    """Tries sizes on the model."""

    def __init__(self, fit: Fit, goal: Goal, seed: int) -> None:
        self.request = fit.parameters.request.elsewhere()
        self._parameters: Parameters = replace(fit.parameters, request=self.request)
        self._goal = goal
        self._seed = seed
        self._margin = max(fit.margin(), _MARGIN)
        self._known: dict[tuple[Sizes, float], float] = {}

    def hosts_needed(self) -> int | None:
        """The fewest hosts on which some sizes meet the goal."""
        goal = self._goal
        # No host serves more than its cores allow, so fewer than this cannot do.
        least = max(math.ceil(goal.rps * self.request.processor / goal.cores), 1)
        most = MOST_HOSTS
        if goal.max_connections is not None:
            most = goal.max_connections // _FEWEST
        if least > most:
            return None
        return _first(least, most, lambda hosts: self._meets(self._most(hosts), hosts, _MARGIN))

    def candidates(self, hosts: int) -> Iterator[Sizes]:
        """Sizes that may meet the goal: small ones first, with more and with less to spare."""
        for margin in (self._margin, _MORE * self._margin, 1.0):
            found = self._smallest(hosts, margin)
            if found is not None:
                yield found
        yield self._most(hosts)

    def _smallest(self, hosts: int, margin: float) -> Sizes | None:
        """The smallest sizes that meet the goal.

        Processes cost most memory, so they come first, then threads, then workers.
        """
        for processes in self._processes():
            sizes = self._largest(processes, hosts)
            if not self._meets(sizes, hosts, margin):
                continue
            for name, values in (("threads", _THREADS), ("max_workers", self._workers())):
                sizes = self._least(sizes, name, values, hosts, margin)
            return sizes
        return None

    def _least(
        self, sizes: Sizes, name: str, values: Sequence[int], hosts: int, margin: float
    ) -> Sizes:
        """Sizes that meet the goal, with the least of some values of one of them that does."""

        def fewer(number: int) -> Sizes:
            return _filled(replace(sizes, **{name: values[number]}))

        fits = [value for value in values if value < getattr(sizes, name)]
        found = (
            _first(0, len(fits) - 1, lambda number: self._meets(fewer(number), hosts, margin))
            if fits
            else None
        )
        return sizes if found is None else fewer(found)

    def _most(self, hosts: int) -> Sizes:
        """The sizes that serve most."""
        return max(
            (self._largest(processes, hosts) for processes in self._processes()),
            key=lambda sizes: Host(self._goal.cores, sizes).capacity(self.request),
        )

    def _processes(self) -> Iterator[int]:
        cores = self._goal.cores
        few = [count for count in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if count < cores]
        yield from [*few, cores, 2 * cores]

    def _workers(self) -> list[int]:
        if self.request.tasks <= 1:
            return [1]
        return sorted({max(math.ceil(times * self.request.tasks), 1) for times in _WORKERS})

    def _largest(self, processes: int, hosts: int) -> Sizes:
        threads = min(_THREADS[-1], max(MOST_THREADS // processes, 1))
        workers = self._workers()[-1]
        room = (
            max(int(_limit(self._goal, hosts) // processes) - _STOPPING, 2)
            if (self._goal.max_connections is not None)
            else threads + workers
        )
        if threads + workers > room:
            # Workers for the tasks of the requests that the threads let in.
            share = threads / (threads + workers)
            threads = max(min(math.floor(room * share), room - 1), 1)
            workers = max(room - threads, 1)
        return _filled(Sizes(processes, threads, workers))

    def _meets(self, sizes: Sizes, hosts: int, margin: float) -> bool:
        goal = self._goal
        if connections(sizes) * sizes.processes > _limit(goal, hosts):
            return False
        return self._p99(sizes, goal.rps / hosts) * margin <= goal.p99

    def _p99(self, sizes: Sizes, rps: float) -> float:
        if (sizes, rps) not in self._known:
            host = Host(self._goal.cores, sizes)
            p99 = math.inf
            if rps < MOST_UTILISATION * host.capacity(self.request):
                p99 = self._parameters.quantiles(host, rps, requests=_DRAWN, seed=self._seed)[1]
            self._known[sizes, rps] = float(p99)
        return self._known[sizes, rps]


def _filled(sizes: Sizes) -> Sizes:
    """With connections for all that can need one at a time: nothing waits for one."""
    return replace(sizes, connections=sizes.threads + sizes.max_workers)


def _limit(goal: Goal, hosts: int) -> float:
    """Connections that one host may have."""
    return math.inf if goal.max_connections is None else goal.max_connections / hosts


def _first(low: int, high: int, does: Callable[[int], bool]) -> int | None:
    """The least number for which something does, if it then does for all that are greater."""
    top = low
    while not does(min(top, high)):
        if top >= high:
            return None
        low, top = top + 1, 2 * top + 1
    high = min(top, high)
    while low < high:
        middle = (low + high) // 2
        if does(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _limits(host: Host, request: Request, rps: float, within: float) -> dict[str, float]:
    """How far each of what a host has is used, as shares; above 1 for what it has not."""
    sizes = host.sizes
    times = host.times(request)
    under_way = _under_way(times, rps)
    tasks = rps * (request.tasks - 1) * request.waits
    limits = {
        "processor": rps * request.processor / min(host.cores, sizes.processes),
        "threads": under_way / host.threads,
        "workers": tasks / (sizes.processes * sizes.max_workers),
    }
    if math.isfinite(within):
        limits["connections"] = connections(sizes) * sizes.processes / within
    return limits


def _under_way(times: Numbers, rps: float) -> float:
    """Requests under way in the mean, by Little's law; as asked for, where it is too much.

    A station that is shared, whose speed depends on how many are there, has them so many at a time
    as a birth-death process with these rates (it is insensitive to the distribution of their
    sizes; F. P. Kelly, "Reversibility and Stochastic Networks", 1979, 3.3).
    """
    if rps * times[-1] / len(times) >= 1:
        return float(rps * times[-1])
    weight, total, mean = 1.0, 1.0, 0.0
    number = 0
    while weight > 1e-12 * total and number < 100 * len(times):
        number += 1
        there = min(number, len(times))
        weight *= rps * times[there - 1] / there
        total += weight
        mean += there * weight
    return float(mean / total)
