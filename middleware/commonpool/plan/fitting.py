"""The model's parameters, from measurements.

What is measured directly is taken as it is: the times of single requests, the processor seconds of
the worker processes, the tasks. Three parameters are fitted to the p50 and the p99 of the loads, by
the method of simulated moments (D. McFadden, Econometrica 57(5), 1989; here the moments are
quantiles, and the distance is Huber's, to which one run in which the machine did something else
matters little):

- ``contended``, the seconds of a core that a request costs outside the worker processes;
- ``scale``, by which all requests took longer than those alone, the machine having been slower or
  faster meanwhile. Those alone count as one more load here, for which it is 1;
- ``tail``, by which the p99 is longer than the model's beyond that: pauses of the machine and of
  the database that no single request alone has met.

The loads are drawn once for each of some values of ``contended``, always with the same random
numbers, and read off between them, so that a fit, and each of the bootstrap's, costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from commonpool.chain.measured import Measurements
from commonpool.plan import simulation
from commonpool.plan.loads import Load, processor_seconds, usable
from commonpool.plan.model import Host, Request, most_contended
from commonpool.plan.stations import Numbers

_GRID = 5  # values of `contended` for which loads are drawn, and again between the nearest
_REFINED = 2  # times
_SERVED = 3.0  # times a single request's time: a load whose p50 is below that was served
_SPARE = 1.1  # times the cores that there are, to be safe
_DRAWN = 1000  # requests for each of them and each load that nothing had to wait in
_DRAWN_MOST = 5  # times as many for those in which much had to: there p50 and p99 vary more
_FINE = 200  # values between them that are looked at

_REWEIGHTINGS = 3
_REPLICATES = 16
_PREDICTED = 1000  # requests of a prediction, for each of the replicates
_BEST = 16_000  # and for the best fit
_COVERED = 0.9
_SEED = 1

_P50, _P99 = 0, 1
_SCALES = np.array([0.15, 0.30])  # errors that weigh the same: what p50 and p99 are to be within


@dataclass(frozen=True)
class Estimate:
    """One number and 90 % of what it may be.

    Attributes:
        value: seconds.
        low: seconds.
        high: seconds.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """What is expected of requests, in seconds."""

    p50: Estimate
    p99: Estimate


@dataclass(frozen=True)
class Parameters:
    """What one fit has found.

    Attributes:
        request: what one needs; with the parameter ``contended``.
        scale: by which all take longer than the model has it.
        tail: by which the p99 is longer than the model's beyond that.
    """

    request: Request
    scale: float = 1.0
    tail: float = 1.0

    def quantiles(
        self, host: Host, rps: float, *, requests: int, seed: int, seconds: float | None = None
    ) -> Numbers:
        """The p50 and the p99 at a rate, in seconds; see `simulation.latencies`."""
        taken = simulation.latencies(
            host.times(self.request),
            self.request.relative,
            rps,
            requests=requests,
            seed=seed,
            seconds=seconds,
        )
        p50, p99 = simulation.quantiles(taken)
        return np.array([self.scale * p50, self.scale * self.tail * p99])


@dataclass(frozen=True)
class Fit:
    """The fitted model, and how sure it is.

    Attributes:
        measurements: that it was fitted to.
        loads: those that were used.
        parameters: of the best fit.
        replicates: parameters of fits to measurements that were drawn from these (bootstrap).
        residuals: for each load, by how much the logarithms of its p50 and p99 are above the
            model's.
    """

    measurements: Measurements
    loads: Sequence[Load]
    parameters: Parameters
    replicates: Sequence[Parameters]
    residuals: Numbers

    def errors(self) -> Numbers:
        """The median of the absolute errors of p50 and p99, as a share, on what was fitted."""
        found: Numbers = np.median(np.abs(np.exp(-self.residuals) - 1), axis=0)
        return found

    def margin(self) -> float:
        """By which the p99 may be longer than expected, for quick decisions."""
        return float(np.exp(np.quantile(np.maximum(self.residuals[:, _P99], 0.0), 0.9)))

    def predict(
        self,
        host: Host,
        rps: float,
        *,
        elsewhere: bool,
        seconds: float | None = None,
        seed: int = 1,
    ) -> Prediction:
        """What a host would take for its requests.

        Args:
            host: which.
            rps: requests a second; less than its capacity, see `Host.capacity`.
            elsewhere: whether the database has a machine of its own, with room; else it shares the
                host, as where it was measured.
            seconds: of the load, where it does not go on for long.
            seed: of what is drawn.
        """

        def drawn(parameters: Parameters, requests: int) -> Numbers:
            request = parameters.request.elsewhere() if elsewhere else parameters.request
            asked = replace(parameters, request=request)
            return asked.quantiles(host, rps, requests=requests, seed=seed, seconds=seconds)

        best = drawn(self.parameters, _BEST)
        # All with the same random numbers, so that they differ by their parameters alone. To that
        # comes what the model did not explain of the loads that it knew.
        several = np.log([drawn(parameters, _PREDICTED) for parameters in self.replicates])
        spread = (several[:, None, :] - np.median(several, axis=0)) + self.residuals[None, :, :]
        spread = spread.reshape(-1, 2)
        ends = np.quantile(spread, ((1 - _COVERED) / 2, (1 + _COVERED) / 2), axis=0)
        low = best * np.exp(np.minimum(ends[0], 0.0))
        high = best * np.exp(np.maximum(ends[1], 0.0))
        estimates = [Estimate(*map(float, three)) for three in zip(best, low, high, strict=True)]
        return Prediction(estimates[_P50], estimates[_P99])


def fit(measurements: Measurements, *, seed: int = _SEED) -> Fit:
    """Fit the model.

    Args:
        measurements: of `commonpool tune`.
        seed: of what is drawn; the same fit for the same seed.

    Raises:
        PlanError: too little was measured.
    """
    loads = usable(measurements)
    processor = processor_seconds(measurements)
    tasks, cores = measurements.tasks_per_request, measurements.cores
    mean = float(np.mean(measurements.unloaded))
    measured = np.log([load.quantiles() for load in loads])
    weights = np.sqrt([load.requests for load in loads])
    alone = float(np.sqrt(len(measurements.unloaded)))

    def table_of(values: Numbers) -> _Table:
        drawn = [
            _drawn(
                measurements,
                Request.of(processor, value, tasks, cores, measurements.unloaded),
                loads,
                seed,
            )
            for value in values.tolist()
        ]
        return _Table(values, np.array(drawn))

    # Near what the machine can do, a little more makes much of a difference: first about where it
    # is, then nearer.
    most = min(
        most_contended(min(processor, mean), max(tasks, 1.0), cores, mean),
        _most_served(loads, processor, cores, mean),
    )
    table = table_of(np.linspace(0.0, most, _GRID))
    for _ in range(_REFINED):
        about = _nearest(table, measured, weights, alone).contended
        low, high = table.around(about)
        table = table.joined(table_of(np.linspace(low, high, _GRID)[1:-1]))

    def parameters(found: _Found, unloaded: Sequence[float]) -> Parameters:
        request = Request.of(processor, found.contended, tasks, cores, unloaded)
        scale, tail = float(np.exp(found.scale)), float(np.exp(found.tail))
        return Parameters(request, scale, tail)

    best = _nearest(table, measured, weights, alone)
    random = np.random.default_rng(seed)
    replicates = []
    for _ in range(_REPLICATES):
        picked = random.integers(len(loads), size=len(loads)).tolist()
        other = np.log([loads[number].resampled(random) for number in picked])
        found = _nearest(table.of(picked), other, weights[picked], alone)
        unloaded = random.choice(np.asarray(measurements.unloaded), len(measurements.unloaded))
        replicates.append(parameters(found, unloaded.tolist()))
    return Fit(
        measurements,
        loads,
        parameters(best, measurements.unloaded),
        replicates,
        measured - table.at(best.contended) - (best.scale, best.scale + best.tail),
    )


def _most_served(loads: Sequence[Load], processor: float, cores: int, mean: float) -> float:
    """Seconds of a core that a request can cost elsewhere, with what was served nevertheless."""
    served = [load.rps for load in loads if load.quantiles()[_P50] < _SERVED * mean]
    highest = max(served, default=loads[0].rps)
    return max(_SPARE * cores / highest - processor, 0.001 * mean)


def _drawn(
    measurements: Measurements, request: Request, loads: Sequence[Load], seed: int
) -> Numbers:
    """The logarithms of the model's p50 and p99 of each load, ``scale`` and ``tail`` being 1."""
    return np.log(
        [
            Parameters(request).quantiles(
                Host(measurements.cores, load.sizes),
                load.rps,
                requests=_requests(load, request.alone),
                seed=seed,
                seconds=load.seconds,
            )
            for load in loads
        ]
    )


def _requests(load: Load, alone: float) -> int:
    """How many are drawn for a load: more where they have to wait, and so p50 and p99 vary more."""
    slower = float(load.quantiles()[_P50]) / alone
    return round(_DRAWN * min(max(1.0, 1 + _DRAWN_MOST * (slower - 1)), _DRAWN_MOST))


@dataclass(frozen=True)
class _Table:
    """What was drawn for some values of ``contended``; between them it is read off.

    Attributes:
        contended: the values, ascending.
        drawn: logarithms, for each of them and each load: p50 and p99.
    """

    contended: Numbers
    drawn: Numbers

    def of(self, loads: Sequence[int]) -> _Table:
        """The same for some of the loads."""
        return _Table(self.contended, self.drawn[:, loads])

    def around(self, contended: float) -> tuple[float, float]:
        """The values of ``contended`` on both sides."""
        grid = self.contended
        near = int(np.argmin(np.abs(grid - contended)))
        return float(grid[max(near - 1, 0)]), float(grid[min(near + 1, len(grid) - 1)])

    def joined(self, other: _Table) -> _Table:
        """With the values of another one, too."""
        values, drawn = np.append(self.contended, other.contended), [*self.drawn, *other.drawn]
        values, first = np.unique(values, return_index=True)
        return _Table(values, np.array([drawn[number] for number in first]))

    def at(self, contended: float) -> Numbers:
        """P50 and p99 of each load."""
        grid = self.contended
        right = int(np.clip(np.searchsorted(grid, contended), 1, len(grid) - 1))
        width = grid[right] - grid[right - 1]
        share = (contended - grid[right - 1]) / width if width > 0 else 0.0
        between: Numbers = (1 - share) * self.drawn[right - 1] + share * self.drawn[right]
        return between


@dataclass(frozen=True)
class _Found:
    """The parameters of one fit; ``scale`` and ``tail`` as logarithms."""

    contended: float = 0.0
    scale: float = 0.0
    tail: float = 0.0


def _nearest(table: _Table, measured: Numbers, weights: Numbers, alone: float) -> _Found:
    """The parameters with the least distance.

    For each value of ``contended`` the others follow.
    """
    best, least = _Found(), np.inf
    for value in np.linspace(table.contended[0], table.contended[-1], _FINE):
        apart = (measured - table.at(value)) / _SCALES
        scale = _centre(np.append(apart[:, _P50], 0.0), np.append(weights, alone))
        apart[:, _P50] -= scale
        tail = _centre(apart[:, _P99], weights)
        apart[:, _P99] -= tail
        distance = float((_huber(apart).sum(axis=1) * weights).sum())
        distance += alone * float(_huber(np.array(scale)))
        if distance < least:
            scale *= float(_SCALES[_P50])
            tail = tail * float(_SCALES[_P99]) - scale
            best, least = _Found(float(value), scale, tail), distance
    return best


def _huber(errors: Numbers) -> Numbers:
    """Squares up to 1, and beyond that straight lines, so that one bad run does not count for all.

    P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35(1), 1964.
    """
    far = np.abs(errors)
    found: Numbers = np.where(far <= 1, far**2, 2 * far - 1)
    return found


def _centre(values: Numbers, weights: Numbers) -> float:
    """The value with the least `_huber` distance, by reweighting, from the weighted median on."""
    centre = _weighted_median(values, weights)
    for _ in range(_REWEIGHTINGS):
        near = weights / np.maximum(np.abs(values - centre), 1.0)
        centre = float((near * values).sum() / near.sum())
    return centre


def _weighted_median(values: Numbers, weights: Numbers) -> float:
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(summed, summed[-1] / 2)])
