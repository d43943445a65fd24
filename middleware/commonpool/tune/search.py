"""Which settings are measured, how often, and at which load.

Successive halving: all settings are measured for a short time, a third of them goes on for twice as
long, and so on until a few are left, which are then measured in several rounds. Which ones go on is
for Optuna to say (`SuccessiveHalvingPruner`). Within a round the order is a random one, so that a
machine that gets slower meanwhile does not favour those who came first.
"""

from __future__ import annotations

import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import optuna

from commonpool.chain.measured import Run, Sizes
from commonpool.tune.errors import ServerError
from commonpool.tune.goal import Goal, p99
from commonpool.tune.grid import size
from commonpool.tune.measuring import Alone, Measuring

_KEPT = 3  # one of so many goes on to the next rung
_FINALISTS = 3  # beside the present setting
_MARGIN = 1.25  # by which the unloaded latency may flatter a setting that is then not measured

_STEP = 1.6  # from one rate to the next, while the highest one is looked for
_STEPS = 4  # rates of one setting in one rung, at most
_BISECTIONS = 2
_FINAL_STEPS = 5  # and in one round of the finals
_BEATEN = 2.0  # times the rate: by so much no second round will change who is better
_SHORTEST = 1.0  # seconds of a load, unless those of the finalists are shorter

_FRACTIONS = (0.25, 0.5, 0.75, 1.25)  # of the rate, for the plot of latency against load


@dataclass
class Found:
    """What is known of one setting.

    Attributes:
        sizes: it.
        runs: loads on it, in order.
        rates: the highest that each round of the finals has found, where no rate was given.
        served: the highest rate at which the goal was met; 0 for none.
        failed: the lowest at which it was not.
        reason: why it was not measured, or could not be.
    """

    sizes: Sizes
    runs: list[Run] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    served: float = 0.0
    failed: float = math.inf
    reason: str = ""

    def finals(self, rps: float | None) -> list[Run]:
        """The loads of the rounds, at a rate."""
        return [run for run in self.runs if run.round >= FIRST_ROUND and run.rps == rps]


FINE = 1.12
"""From one rate to the next in the rounds of the finalists: what is found is no finer than that."""

FIRST_ROUND = 100
"""The number of the finalists' first round; below it are the rungs of the search."""


@dataclass
class Effort:
    """How much is measured.

    Attributes:
        seconds: of a finalist's load in one round.
        rounds: of the finalists.
        until: when the budget ends, on the monotonic clock.
        search_until: when the finals begin at the latest.
        finals_until: when the loads for the plots begin at the latest.
        seed: of the orders.
    """

    seconds: float = 6.0
    rounds: int = 4
    until: float = math.inf
    search_until: float = math.inf
    finals_until: float = math.inf
    seed: int = 1

    def at_least(self, seconds: float) -> float:
        """Seconds, or what is needed to see anything."""
        return max(seconds, min(_SHORTEST, self.seconds))

    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() > self.until


@dataclass
class Search:
    """Looks for the best setting of several.

    Attributes:
        measuring: makes the measurements.
        goal: what is asked.
        settings: among which, the smallest first.
        present: one of them, which is always measured in the end.
        alone: what one request costs.
        cores: of the machine.
        effort: how much is measured.
        step: is called with what is done next, and how many measurements are to come in it.
    """

    measuring: Measuring
    goal: Goal
    settings: Sequence[Sizes]
    present: Sizes
    alone: Alone
    cores: int
    effort: Effort
    step: Callable[[str, int], None]

    found: dict[Sizes, Found] = field(default_factory=dict)
    finalists: list[Sizes] = field(default_factory=list)
    rounds_made: int = 0
    cut_short: bool = False
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.found = {sizes: Found(sizes) for sizes in self.settings}
        self._random = random.Random(self.effort.seed)  # noqa: S311 - orders, not secrets

    def run(self) -> None:
        """Search.

        Raises:
            ServerError: the application comes up with no setting.
            TuneError: nothing can be measured any more, or written down.
            KeyboardInterrupt: Ctrl-C; what was found until then stays.
        """
        self._leave_out_the_impossible()
        self._halve()
        self._finals()
        self.seconds = self.measuring.spent
        self._curves()

    @property
    def full_seconds(self) -> float:
        """Seconds that all settings would take, measured as the finalists are."""
        loads = 1 if self.goal.rps is not None else _STEPS
        return len(self.settings) * self.effort.rounds * self.effort.seconds * loads

    def candidates(self) -> list[Found]:
        """Those that may be measured."""
        return [found for found in self.found.values() if not found.reason]

    # What cannot be is not measured.

    def most_possible(self, sizes: Sizes) -> float:
        """Requests a second that so many threads can serve at most, if each were alone."""
        return sizes.processes * sizes.threads / min(self.alone.latencies) * _MARGIN

    def _leave_out_the_impossible(self) -> None:
        if self.goal.rps is None:
            return
        every = sorted(self.found.values(), key=lambda found: self.most_possible(found.sizes))
        if self.most_possible(every[-1].sizes) < self.goal.rps:
            every = every[:-_FINALISTS]  # nothing can serve it: the best there is are these
        for found in every:
            most = self.most_possible(found.sizes)
            if most < self.goal.rps:
                threads = found.sizes.processes * found.sizes.threads
                found.reason = (
                    f"{threads} request thread{' serves' if threads == 1 else 's serve'} "
                    f"{most:.0f} requests/s at most"
                )

    # The search.

    def _halve(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=self.effort.seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_KEPT),
        )
        left = self.candidates()
        trials = {}
        for found in left:
            study.enqueue_trial({"setting": self.settings.index(found.sizes)})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trials[found.sizes] = study.ask(
                    {"setting": optuna.distributions.IntDistribution(0, len(self.settings) - 1)}
                )
        rung = 0
        while len(left) > _FINALISTS and not self._must_decide():
            seconds = self.effort.at_least(self.effort.seconds * 2**rung / 6)
            self.step(f"search, rung {rung + 1}: {len(left)} settings", len(left))
            stay = []
            for found in self._random.sample(left, len(left)):
                if self._must_decide():
                    if found.runs:
                        stay.append(found)  # not measured again, but not worse either
                    else:
                        found.reason = "not measured: the time was over"
                    continue
                self._visit(found, rung, seconds)
                trial = trials[found.sizes]
                if found.reason:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    continue
                trial.report(self._score(found), step=_KEPT**rung)
                if trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                else:
                    stay.append(found)
            # It decides with what it has seen until then, so that of those who came first more went
            # on than a third.
            most = max(len(left) // _KEPT, _FINALISTS)
            for found in sorted(stay, key=self._score)[most:]:
                study.tell(trials[found.sizes], state=optuna.trial.TrialState.PRUNED)
            stay = sorted(stay, key=self._score)[:most]
            if len(stay) == len(left):
                break
            left, rung = stay, rung + 1
        self.finalists = [found.sizes for found in sorted(left, key=self._score)]

    def _visit(self, found: Found, rung: int, seconds: float) -> None:
        if self._is_hopeless(found):
            found.reason = f"serves {self.most_possible(found.sizes):.0f} requests/s at most"
            return
        try:
            with self.measuring.on(found.sizes) as visit:
                if self.goal.rps is not None:
                    rates = iter([self.goal.rps])
                elif rung == 0:
                    rates = self._ladder(found)
                else:
                    rates = self._bisection(found)
                for rate in rates:
                    self._note(found, visit.load(self.goal, rate, rung, seconds, in_a_hurry=True))
        except ServerError as error:
            self._could_not(found, error)

    def _is_hopeless(self, found: Found) -> bool:
        """Whether another setting has served more than this one could; the present one is known."""
        return (
            self.goal.rps is None
            and found.sizes != self.present
            and self.most_possible(found.sizes) < self._best_rate()
        )

    def _could_not(self, found: Found, error: ServerError) -> None:
        found.reason = str(error).partition("\n")[0]
        if all(other.reason for other in self.found.values()):
            raise error

    def _note(self, found: Found, run: Run) -> bool:
        found.runs.append(run)
        met = self.goal.is_met(run)
        if met:
            found.served = max(found.served, run.rps)
        else:
            found.failed = min(found.failed, run.rps)
        return met

    def _ladder(self, found: Found) -> Iterator[float]:
        """Rates: the best one so far first, then upwards until one is too high, or far below it.

        Whoever does not reach what another one has served is not the best, and need not be known
        any better than that.
        """
        best = 0.0 if found.sizes == self.present else self._best_rate()
        rate = min(self._first_rate(found.sizes), best or math.inf)
        for _ in range(_STEPS):
            yield rate
            if found.served and math.isfinite(found.failed):
                return
            if not found.served and best:
                yield rate / _STEP**2
                return
            rate = rate * _STEP if found.served else rate / _STEP**2

    def _bisection(self, found: Found) -> Iterator[float]:
        low, high = found.served, found.failed
        if not low or not math.isfinite(high):
            yield from self._ladder(found)
            return
        low, high = min(low, high / FINE), max(high, low * FINE)
        for _ in range(_BISECTIONS):
            rate = math.sqrt(low * high)
            yield rate
            if self.goal.is_met(found.runs[-1]):
                low = rate
            else:
                high = rate

    def _first_rate(self, sizes: Sizes) -> float:
        """Half of what threads and cores could serve, if nothing else were in the way."""
        threads = sizes.processes * sizes.threads / self.alone.median
        used = self.alone.processor_seconds
        cores = min(self.cores, sizes.processes) / used if used > 0 else math.inf
        return max(0.5 * min(threads, cores), 0.2)

    def _must_decide(self) -> bool:
        """Whether the finals have to begin."""
        self.cut_short = self.cut_short or time.monotonic() > self.effort.search_until
        return time.monotonic() > self.effort.search_until

    def _finals_are_over(self) -> bool:
        over = time.monotonic() > self.effort.finals_until
        self.cut_short = self.cut_short or over
        return over

    def _best_rate(self) -> float:
        return max((found.served for found in self.found.values()), default=0.0)

    def _score(self, found: Found) -> float:
        """What a setting is ranked by: the smaller, the better.

        With a rate: those that meet the goal by their size, below 1; the others by how far they
        miss it. Without one: by the highest rate.
        """
        if found.reason or not found.runs:
            return math.inf if found.reason else 1e9
        if self.goal.rps is None:
            low, high = found.served, found.failed
            if not low:
                return -high / _STEP**4 if math.isfinite(high) else 1e9
            return -math.sqrt(low * high) if math.isfinite(high) and high > low else -low
        run = found.runs[-1]
        if self.goal.is_met(run):
            return list(self.settings).index(found.sizes) / len(self.settings)
        asked = len(run.latencies) + sum(run.failures.values())
        failures = sum(run.failures.values()) / max(asked, 1)
        return 1 + 10 * failures + min(p99(run) / self.goal.p99, 1e6)

    # The finals.

    def _finals(self) -> None:
        ranked = sorted((found for found in self.candidates() if found.runs), key=self._score)
        chosen = [sizes for sizes in self.finalists if not self.found[sizes].reason][:_FINALISTS]
        if not self.found[self.present].reason or self.goal.rps is None:
            self.found[self.present].reason = ""
            chosen.append(self.present)
        self._rounds(list(dict.fromkeys(chosen)))
        # Those that did well for a moment may not do so for longer: then the next ones' turn has
        # come, the smallest first.
        while self.goal.rps is not None and not self._finals_are_over():
            if any(self._meets(sizes) for sizes in self.finalists):
                return
            rest = [found.sizes for found in ranked if found.sizes not in self.finalists]
            larger = [sizes for sizes in rest if self._may_meet(sizes)][:2]
            if not larger:
                return
            self._rounds(larger)

    def _may_meet(self, sizes: Sizes) -> bool:
        return self._score(self.found[sizes]) < 2  # noqa: PLR2004 - met it, or missed it by little

    def _meets(self, sizes: Sizes) -> bool:
        finals = self.found[sizes].finals(self.goal.rps)
        return bool(finals) and sum(map(self.goal.is_met, finals)) * 2 > len(finals)

    def _rounds(self, chosen: list[Sizes]) -> None:
        already = [sizes for sizes in self.finalists if self.found[sizes].finals(self.goal.rps)]
        self.finalists = sorted({*already, *chosen}, key=size)
        for number in range(self.effort.rounds):
            if number and self._finals_are_over():
                return
            left = [sizes for sizes in chosen if not self._is_beaten(self.found[sizes])]
            self.step(f"finals, round {number + 1} of {self.effort.rounds}", len(left))
            for sizes in self._random.sample(left, len(left)):
                if number and self._finals_are_over():
                    return
                self._final(self.found[sizes], FIRST_ROUND + number)
            self.rounds_made = max(self.rounds_made, number + 1)

    def _is_beaten(self, found: Found) -> bool:
        """Whether another finalist has served far more: the time is for those in doubt."""
        best = max((max(one.rates, default=0.0) for one in self.found.values()), default=0.0)
        return bool(found.rates) and max(found.rates) * _BEATEN < best

    def _final(self, found: Found, number: int) -> None:
        try:
            with self.measuring.on(found.sizes) as visit:
                if self.goal.rps is not None:
                    found.runs.append(
                        visit.load(self.goal, self.goal.rps, number, self.effort.seconds)
                    )
                    return
                found.rates.append(self._highest(found, visit.load, number))
        except ServerError as error:
            self._could_not(found, error)

    def _highest(
        self, found: Found, load: Callable[[Goal, float, int, float], Run], number: int
    ) -> float:
        """The highest rate of one round, from where the search has left it.

        Steps that grow until one rate is served and another is not, then halves of what is between.
        """
        rate = found.served or self._first_rate(found.sizes)
        low, high, step = 0.0, math.inf, FINE
        seconds = self.effort.at_least(self.effort.seconds / 2)
        for _ in range(_FINAL_STEPS):
            run = load(self.goal, rate, number, seconds)
            found.runs.append(run)
            if self.goal.is_met(run):
                low = max(low, rate)
            else:
                high = min(high, rate)
            if low and math.isfinite(high):
                if high <= low * FINE * 1.001:
                    break
                rate = math.sqrt(low * high)
            else:
                rate = low * step if low else high / step
                step **= 2
        found.served = low or rate
        return low

    def _curves(self) -> None:
        """Other loads on the finalists: for the plots, and for `commonpool plan`."""
        if self._is_over():
            return
        self.step("other loads, for the plots", len(self.finalists))
        for sizes in self._random.sample(self.finalists, len(self.finalists)):
            if self._is_over():
                return
            found = self.found[sizes]
            about = self.goal.rps or found.served
            try:
                with self.measuring.on(sizes) as visit:
                    for fraction in _FRACTIONS:
                        if about * fraction > 0:
                            run = visit.load(
                                self.goal,
                                about * fraction,
                                CURVES,
                                self.effort.at_least(self.effort.seconds / 2),
                            )
                            found.runs.append(run)
            except ServerError as error:
                self._could_not(found, error)

    def _is_over(self) -> bool:
        self.cut_short = self.cut_short or self.effort.is_over()
        return self.effort.is_over()


CURVES = 99
"""The round of the loads that are made for the plots alone."""
