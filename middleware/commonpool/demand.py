"""Demand: how many workers the small requests have lately wanted, and what that leaves the large.

A started task is not taken back. Where one large fan-out has all workers, turns are of no use to
the small ones that come next: they wait for the end of its tasks. So it leaves them, unused, as
many workers as they have wanted of late: max-min fairness (Bertsekas and Gallager, Data Networks,
6.5.2) with a demand that is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from commonpool.task import Owner

LATELY = 0.3
"""Seconds, the time constant of the means: after so long without demand, a third of it is left.

A simulation of eight clients with 3 tasks of 20 ms beside one with 100 of 50 ms, on 32 workers,
gave the same with 0.1, and with 1 s a sixth more to wait for the small ones.
"""

LARGE = 2.0
"""Who wants more than so many times what is usual is held back; where all want alike, nobody is:
there, in the same simulation, holding back cost a sixth of the time and was of use to nobody."""

NEGLIGIBLE = 0.1
"""Workers: means fall for ever, but a second and a half after the last of 16 there is no demand."""

NEWCOMER = 1 / 16
"""The weight of a newcomer in what is usual, but for the first of all, which says it alone."""

STEP = 0.001
"""Seconds that pass before the means are brought up to date again."""


class Demand:
    """What the owners of a pool want, on average over the last moments.

    Guarantees:
        Who is alone, and has lately been, may have all workers.
        Who wants no more than is usual may have all that are free.
        Those who want more leave room for what the others have lately wanted, but for an equal
        part of the workers for each, and for one at least.
        Who asks for workers one after another is as large as who asks for them at once.

    The caller holds one lock around every call.

    Args:
        workers: how many there may be.
        clock: seconds, monotonic.

    Attributes:
        usual: up to how many workers it is usual to want.
        large: how many owners want more now.
    """

    def __init__(self, workers: int, clock: Callable[[], float]) -> None:
        self.usual = 0.0
        self.large = 0
        self._workers = workers
        self._clock = clock
        self._wanted = 0  # now, by owners that want no more than is usual
        self._owners = 0  # now, of that kind
        self._weight = 1.0  # the latest newcomer's
        self._mean_wanted = 0.0
        self._mean_owners = 0.0
        self._updated_at = clock()

    def came(self, owner: Owner, wants: int) -> None:
        """An owner wants so many workers more."""
        before, wants = owner.wants, min(owner.wants + wants, self._workers)
        if not before:
            self._weight = NEWCOMER if self.usual else 1.0
            self.usual -= self._weight * self.usual
        self.usual += self._weight * LARGE * (wants - before)
        self._count(owner, wants)

    def left(self, owner: Owner) -> None:
        """An owner wants none any more."""
        self._count(owner, 0)

    def limit(self) -> int:
        """How many workers those may have, all together, that want more than is usual."""
        self._update()
        if self._mean_wanted <= NEGLIGIBLE:
            return self._workers
        room = math.ceil(self._mean_wanted - NEGLIGIBLE)
        large = max(self.large, 1)
        equal_parts = self._workers * large / (large + self._mean_owners)
        return max(self._workers - room, math.ceil(equal_parts - NEGLIGIBLE), 1)

    def _count(self, owner: Owner, wants: int) -> None:
        self._update()
        if owner.is_large:
            self.large -= 1
        elif owner.wants:
            self._wanted -= owner.wants
            self._owners -= 1
        owner.wants = wants
        owner.is_large = wants > self.usual
        if owner.is_large:
            self.large += 1
        elif wants:
            self._wanted += wants
            self._owners += 1

    def _update(self) -> None:
        """Bring the means up to now, from what was wanted since the last time."""
        now = self._clock()
        passed = now - self._updated_at
        if passed < STEP:
            return
        self._updated_at = now
        weight = 1 - math.exp(-passed / LATELY)
        self._mean_wanted += weight * (self._wanted - self._mean_wanted)
        self._mean_owners += weight * (self._owners - self._mean_owners)
