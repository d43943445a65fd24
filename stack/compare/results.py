"""From samples to a line of the table: figures, the best peer, and whether a target is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from stack.bench.samples import Samples
from stack.compare.peers import COMMONPOOL
from stack.compare.recording import Recording


@dataclass(frozen=True)
class Figure:
    """A measured number: the median, and where the middle four fifths of the samples lie."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self | None:
        """The figure of some samples; `None` where there are none."""
        samples = Samples([*values])
        if not samples.seconds:
            return None
        median, (low, high) = samples.median, samples.spread
        # deciles are interpolated: equal samples may give one that is off by the last digit
        return cls(median, min(low, median), max(high, median))


@dataclass(frozen=True, kw_only=True)
class Result:
    """A line of the table.

    Attributes:
        row: the number of the measurement.
        what: was measured.
        unit: of all its numbers; empty for a ratio.
        limit: what cannot be better; `None` where there is nothing to say.
        before: the best peer measured before this program was there.
        target: what commonpool is to reach; `None` for what is only shown.
        more: whether more is better.
        figures: each peer's, commonpool's among them.
        ours: which of them is commonpool's.
        reference: which of them the others are measured against, and is no peer.
        failures: peers without a figure, and why.
        notes: what is to be known of a peer's figure.
        shortfall: why it falls short, where that is known.
        digits: after the point.
    """

    row: str
    what: str
    unit: str = ""
    limit: float | None = None
    before: str = ""
    target: float | None = None
    more: bool = False
    figures: Mapping[str, Figure] = field(default_factory=dict)
    ours: str = COMMONPOOL
    reference: str | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    shortfall: str = ""
    digits: int = 3

    @property
    def value(self) -> Figure | None:
        """Commonpool's figure."""
        return self.figures.get(self.ours)

    @property
    def best(self) -> str | None:
        """The peer with the best median."""
        peers = [
            name
            for name in self.figures
            if name not in (self.ours, self.reference) and not name.startswith(COMMONPOOL)
        ]
        pick = max if self.more else min
        return pick(peers, key=lambda name: self.figures[name].median, default=None)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; `None` where there is none, or no figure."""
        if self.value is None or self.target is None:
            return None
        value = self.value.median
        return value >= self.target if self.more else value <= self.target

    @property
    def reason(self) -> str:
        """What is to be said of a line that has not reached its target."""
        if self.reached or (self.target is None and self.value is not None):
            return ""
        if self.value is None:
            return self.failures.get(self.ours) or self.failures.get("") or "not measured"
        missing = abs(self.value.median - self.target) if self.target is not None else 0.0
        by = f"{missing:.{self.digits}f}{self.unit and f' {self.unit}'}"
        sentences = [f"{'Below' if self.more else 'Above'} the target by {by}."]
        spread = self.value.high if self.more else self.value.low
        if self.target is not None and (
            spread >= self.target if self.more else spread <= self.target
        ):
            sentences.append("Some rounds reach it.")
        if self.shortfall:
            sentences.append(self.shortfall)
        return " ".join(sentences)

    def shown(self, number: float | None, *, unit: bool = True) -> str:
        """A number of this line as text."""
        if number is None:
            return ""
        return f"{number:,.{self.digits}f}{f' {self.unit}' if unit and self.unit else ''}"


def figures(
    recording: Recording,
    row: str,
    measure: str,
    value: Callable[[str], Mapping[int, float]] | None = None,
) -> dict[str, Figure]:
    """The figures of all peers of a measure.

    Args:
        recording: the run.
        row: the measurement.
        measure: one of those it takes.
        value: what a peer's value is in each round; by default the median of its samples.
    """
    found = {}
    for peer in recording.peers(row, measure):
        values = recording.medians(row, measure, peer) if value is None else value(peer)
        figure = Figure.of(values.values())
        if figure is not None:
            found[peer] = figure
    return found


def wrong_answers(recording: Recording, row: str, measure: str) -> dict[str, str]:
    """A note on each peer of whose answers some were errors: those do not count as requests."""
    notes = {}
    for peer in recording.peers(row, measure):
        share = max(recording.medians(row, measure, peer).values())
        if share:
            notes[peer] = f"up to {share:.1%} of its answers were errors"
    return notes


def ratio(above: Mapping[int, float], below: Mapping[int, float]) -> dict[int, float]:
    """One by the other, in each round that has both."""
    return {number: above[number] / below[number] for number in above if below.get(number)}


def scaled(values: Mapping[int, float], by: float) -> dict[int, float]:
    """In another unit."""
    return {number: value * by for number, value in values.items()}
