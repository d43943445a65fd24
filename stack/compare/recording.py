"""What was measured, raw: all that the report and the plots are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from stack.bench.samples import Samples

FORMAT = 1


class RecordingError(Exception):
    """A file is not a recording; the message says so in one line."""


@dataclass(frozen=True)
class Sample:
    """What one measurement of a row gave for one peer in one round."""

    row: str
    measure: str
    peer: str
    round: int
    values: list[float]


@dataclass(frozen=True)
class Failure:
    """Why a row has no sample of a peer; of all its peers, where none is named."""

    row: str
    peer: str
    round: int
    reason: str


@dataclass
class Recording:
    """A run: on what, with what, and all samples of it."""

    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, row: str, measure: str, peer: str, number: int, values: Iterable[float]) -> None:
        """Add the values that a round gave."""
        self.samples.append(Sample(row, measure, peer, number, [*values]))

    def fail(self, row: str, peer: str, number: int, reason: str) -> None:
        """Note why a round gave none."""
        self.failures.append(Failure(row, peer, number, " ".join(reason.split())))

    def rounds(self, row: str, measure: str, peer: str) -> dict[int, list[float]]:
        """The values of each round that has any."""
        found: dict[int, list[float]] = {}
        for sample in self.samples:
            if (sample.row, sample.measure, sample.peer) == (row, measure, peer) and sample.values:
                found.setdefault(sample.round, []).extend(sample.values)
        return found

    def medians(self, row: str, measure: str, peer: str) -> dict[int, float]:
        """The median of each round."""
        rounds = self.rounds(row, measure, peer)
        return {number: Samples(values).median for number, values in rounds.items()}

    def peers(self, row: str, measure: str) -> list[str]:
        """Of whom there are values, in the order in which they were measured."""
        samples = (s for s in self.samples if (s.row, s.measure) == (row, measure) and s.values)
        return list(dict.fromkeys(sample.peer for sample in samples))

    def reasons(self, row: str) -> dict[str, str]:
        """Why peers have failed in a row: the last reason of each."""
        return {failure.peer: failure.reason for failure in self.failures if failure.row == row}

    @property
    def rows(self) -> list[str]:
        """The rows that were measured, or were to be."""
        measured = [sample.row for sample in self.samples]
        return list(dict.fromkeys([*measured, *(failure.row for failure in self.failures)]))

    def write(self, file: Path) -> None:
        """Write it down as JSON, a line for each sample."""
        told = {"format": FORMAT, **asdict(self)}
        lines = []
        for name, value in told.items():
            if name in ("samples", "failures"):
                items = ",\n".join(f"    {json.dumps(item)}" for item in value)
                lines.append(f'  "{name}": [\n{items}\n  ]' if items else f'  "{name}": []')
            else:
                lines.append(f'  "{name}": {json.dumps(value)}')
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` has written.

        Raises:
            RecordingError: it is not that.
        """
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            if told.pop("format") != FORMAT:
                raise RecordingError(f"{file} was written by another version of this program")
            told["samples"] = [Sample(**sample) for sample in told["samples"]]
            told["failures"] = [Failure(**failure) for failure in told["failures"]]
            return cls(**told)
        except OSError as error:
            raise RecordingError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RecordingError(f"{file} is not a recording of this program") from None
