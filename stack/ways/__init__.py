"""The known ways of waiting for several things in a view, timed beside commonpool's.

``python -m stack.ways`` runs all of them, each in a module of its own, which has a `TITLE`, the
`COLUMNS` that its seconds go into, and `measure(scale)`.
"""

from __future__ import annotations

from dataclasses import dataclass

NAMES = ("queries", "two_clients", "sleeps", "hundred", "apis", "computing")
"""Those modules."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What was measured of one way.

    Attributes:
        way: what the table calls it.
        seconds: one for each of the columns; none where it could not be measured.
        at_once: how many of the things waited for were under way at a time, at most.
        connections: how many it has opened to the APIs.
        note: what else is to be said.
    """

    way: str
    seconds: tuple[float, ...] = ()
    at_once: int | None = None
    connections: int | None = None
    note: str = ""
