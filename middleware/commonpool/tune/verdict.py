"""What the measurements say, and how sure they are of it."""

from __future__ import annotations

import dataclasses
import math
import statistics as standard
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from commonpool.chain.figures import milliseconds, per_second
from commonpool.chain.measured import Run, Sizes
from commonpool.tune.goal import Goal
from commonpool.tune.grid import size, words
from commonpool.tune.search import FINE, FIRST_ROUND, Found
from commonpool.tune.statistics import (
    mean_interval,
    mean_ratio,
    p99_difference,
    p99_interval,
    percentile,
)


@dataclass(frozen=True)
class Row:
    """One setting, as it came out.

    Attributes:
        sizes: it.
        rounds: in which it was measured for the figure.
        figure: the p99 in seconds where a rate was given, else the highest rate.
        interval: 95 % of the figure.
        p50: seconds, at the same loads as the figure.
        p99: seconds.
        failures: requests that failed in them, by what they ended in.
        requests: that were sent in them.
        met: whether the goal is.
        memory: bytes of a worker process, the mean.
        connections: in the database, the most.
        processor: seconds for a request.
        final: whether it was a finalist.
    """

    sizes: Sizes
    rounds: int
    figure: float
    interval: tuple[float, float]
    p50: float
    p99: float
    failures: dict[str, int]
    requests: int
    met: bool
    memory: float
    connections: int
    processor: float
    final: bool


@dataclass(frozen=True)
class Verdict:
    """The whole.

    Attributes:
        goal: what was asked.
        rows: of all settings that were measured, the best first.
        present: the setting that the file has; `None` where it could not be measured.
        recommended: what to set; `None` where nothing answered.
        alike: settings that cannot be told apart from the recommended one.
        best: the one with the best figure.
        sure: whether the goal is met by the whole interval.
        sentences: all that in words.
        reason: why the present setting was not measured.
    """

    goal: Goal
    rows: Sequence[Row]
    present: Row | None
    recommended: Row | None
    alike: Sequence[Sizes] = ()
    best: Row | None = None
    sure: bool = False
    sentences: Sequence[str] = field(default_factory=tuple)
    reason: str = ""

    @property
    def meets(self) -> bool:
        """Whether the recommended setting meets the goal."""
        return self.recommended is not None and self.recommended.met


def judge(found: Sequence[Found], goal: Goal, present: Sizes) -> Verdict:
    """What follows from the measurements.

    Args:
        found: all settings.
        goal: what was asked.
        present: what is set.
    """
    measured = {one.sizes: one for one in found if one.runs}
    rows = {sizes: _row(one, goal) for sizes, one in measured.items()}
    judged = _judged(rows.values())
    if not judged:
        return Verdict(goal, (), rows.get(present), None, sentences=("Nothing was measured.",))
    if goal.rps is None:
        best = max(judged, key=lambda row: row.figure)
        alike = [
            row
            for row in judged
            if row is best
            or mean_ratio(_rates(measured[best.sizes]), _rates(measured[row.sizes]))[0] <= FINE
        ]
        pick = min(alike, key=lambda row: size(row.sizes))
        sure = pick.met and pick.rounds > 1
    else:
        meeting = [row for row in judged if row.met]
        best = min(judged, key=lambda row: (_share(row), row.figure))
        pick = min(meeting, key=lambda row: size(row.sizes)) if meeting else best
        alike = [row for row in judged if row is pick or _alike(measured, goal, row, pick)]
        sure = pick.met and pick.rounds > 1 and pick.interval[1] <= goal.p99
    ranked = sorted(rows.values(), key=lambda row: _rank(row, goal))
    verdict = Verdict(
        goal,
        ranked,
        rows.get(present),
        pick,
        tuple(
            row.sizes for row in sorted(alike, key=lambda row: size(row.sizes)) if row is not pick
        ),
        best,
        sure,
        reason=next((one.reason for one in found if one.sizes == present), ""),
    )
    return dataclasses.replace(verdict, sentences=_sentences(verdict))


def _judged(rows: Iterable[Row]) -> list[Row]:
    """The finalists; where there are none yet, all that answered."""
    every = [row for row in rows if row.requests]
    return [row for row in every if row.final] or every


def _row(found: Found, goal: Goal) -> Row:
    finals = _figures(found, goal)
    latencies = [run.latencies for run in finals]
    pooled = [latency for one in latencies for latency in one]
    failures: dict[str, int] = {}
    for run in finals:
        for name, count in run.failures.items():
            failures[name] = failures.get(name, 0) + count
    whole = percentile(pooled, 0.99) if pooled else math.inf
    if goal.rps is None:
        rates = _rates(found)
        figure, (low, high) = standard.fmean(rates), mean_interval(rates)
        interval = low, high * FINE  # the next rate was too high, which one between was not tried
        met = figure > 0
        rounds = len(found.rates) or 1
    else:
        figure, interval = whole, p99_interval(latencies)
        met = not failures and whole <= goal.p99
        rounds = len(finals)
    memory = [one for run in found.runs for one in run.memory]
    requests = len(pooled) + sum(failures.values())
    used = sum(run.processor_seconds for run in finals)
    return Row(
        sizes=found.sizes,
        rounds=rounds,
        figure=figure,
        interval=interval,
        p50=percentile(pooled, 0.5) if pooled else math.inf,
        p99=whole,
        failures=failures,
        requests=requests,
        met=met,
        memory=standard.fmean(memory) if memory else 0.0,
        connections=max(run.connections for run in found.runs),
        processor=used / len(pooled) if pooled else 0.0,
        final=bool(found.rates if goal.rps is None else found.finals(goal.rps)),
    )


def _figures(found: Found, goal: Goal) -> list[Run]:
    """The loads that a row tells of: those of the finals, or the last one of the search."""
    if goal.rps is not None:
        return found.finals(goal.rps) or [run for run in found.runs if run.rps == goal.rps][-1:]
    # One for each round: the highest rate that was served in it.
    best: dict[int, Run] = {}
    for run in found.runs:
        if goal.is_met(run) and run.rps > getattr(best.get(run.round), "rps", 0.0):
            best[run.round] = run
    last = [run for number, run in best.items() if number >= FIRST_ROUND]
    return last or list(best.values())[-1:] or found.runs[-1:]


def _rates(found: Found) -> list[float]:
    return found.rates or [found.served]


def _share(row: Row) -> float:
    return sum(row.failures.values()) / max(row.requests, 1)


def _alike(measured: dict[Sizes, Found], goal: Goal, row: Row, pick: Row) -> bool:
    if bool(row.failures) != bool(pick.failures):
        return False
    low, high = p99_difference(
        [run.latencies for run in _figures(measured[row.sizes], goal)],
        [run.latencies for run in _figures(measured[pick.sizes], goal)],
    )
    return low <= 0 <= high


def _rank(row: Row, goal: Goal) -> tuple[object, ...]:
    if goal.rps is None:
        return (not row.final, -row.figure, size(row.sizes))
    return (not row.final, not row.met, size(row.sizes) if row.met else (_share(row), row.figure))


def _sentences(verdict: Verdict) -> list[str]:
    row, goal = verdict.recommended, verdict.goal
    assert row is not None  # noqa: S101
    said = []
    if goal.rps is None:
        low, high = row.interval
        if row.figure:
            said.append(
                f"{words(row.sizes)} serves {per_second(row.figure)} requests/s "
                f"({per_second(low)} to {per_second(high)}) at p99 <= {milliseconds(goal.p99)}."
            )
        else:
            said.append(
                f"No setting serves any load at p99 <= {milliseconds(goal.p99)}; the least bad is "
                f"{words(row.sizes)}."
            )
    elif row.met:
        low, high = row.interval
        said.append(
            f"{words(row.sizes)} is the smallest that serves {per_second(goal.rps)} requests/s "
            f"at p99 <= {milliseconds(goal.p99)}: {milliseconds(row.figure)} "
            f"({milliseconds(low)} to {milliseconds(high)})."
        )
        if row.interval[1] > goal.p99:
            said.append("It is close: the interval reaches beyond the limit.")
    else:
        said.append(
            f"No setting that was tried serves {per_second(goal.rps)} requests/s at p99 <= "
            f"{milliseconds(goal.p99)}. The best there is: {words(row.sizes)}, "
            f"{milliseconds(row.figure)}{_failures_in_words(row)}."
        )
    if row.rounds < 2:  # noqa: PLR2004 - one
        said.append("It was measured in one round alone, which does not tell how sure that is.")
    if verdict.alike:
        others = "; ".join(words(sizes) for sizes in verdict.alike)
        said.append(f"Cannot be told apart from it: {others}.")
    said.extend(_compared(verdict))
    return said


def _compared(verdict: Verdict) -> list[str]:
    row, present, goal = verdict.recommended, verdict.present, verdict.goal
    assert row is not None  # noqa: S101
    if present is None or not present.requests:
        return [f"At present: {verdict.reason}."] if verdict.reason else []
    if present.sizes == row.sizes:
        return ["That is what is set already."]
    if goal.rps is None:
        if not present.figure:
            return [f"At present ({words(present.sizes)}) no load is served in that time."]
        return [
            (
                f"At present ({words(present.sizes)}) it is {per_second(present.figure)} "
                f"requests/s ({per_second(present.interval[0])} to "
                f"{per_second(present.interval[1])}): "
                f"{row.figure / present.figure:.1f} times as many."
            )
        ]
    return [
        (
            f"At present ({words(present.sizes)}) the p99 is {milliseconds(present.figure)}"
            f"{_failures_in_words(present)}."
        )
    ]


def _failures_in_words(row: Row) -> str:
    if not row.failures:
        return ""
    share = _share(row)
    what = max(row.failures, key=lambda name: row.failures[name])
    return f", and {share:.1%} of the requests fail ({what})"
