"""What a measurement is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stack.compare.budget import Budget
from stack.compare.recording import Recording
from stack.compare.results import Result


class Add(Protocol):
    """Takes down what was measured."""

    def __call__(self, measure: str, peer: str, values: Iterable[float]) -> None:
        """Take down the values that a round gave for a peer."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        key: its number, which ``--only`` takes.
        title: what is measured.
        results: the lines of the table that a recording gives.
    """

    key: str
    title: str
    results: Callable[[Recording], list[Result]]


@dataclass(frozen=True, kw_only=True)
class ServedRow(Row):
    """A row that is measured on each peer's server, with one peer served at a time.

    Attributes:
        load: measures a server: its address, how many seconds for each load, and what takes the
            figures down: by measure and values.
        budget: what the servers are given.
        not_for: peers to which it does not apply, and why.
    """

    load: Callable[[str, float, Callable[[str, Iterable[float]], None]], None]
    budget: Budget
    not_for: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LocalRow(Row):
    """A row that is measured in this process, its peers in turn.

    Attributes:
        measure: measures one round: for how many seconds, the URL of a database with the flights
            in it where it needs one, and what takes the figures down.
        flights: whether it needs them.
    """

    measure: Callable[[float, str, Add], None]
    flights: bool = False
