"""When what happens in a soak.

    |-- reloads ------------|-- settling --|-- measured ---------------|
    0                     40 %        + 60 s at most                  end

Every reload replaces all worker processes, so that memory can only grow within a process's life,
and from one generation to the next through the master, which forks them.

*Flat* means two things, therefore:

- *Within a life.* After the last reload the same processes live on to the end. They settle first:
  for a minute, or for a quarter of their life where that is shorter. At the end of that they are
  filled (all workers started, all connections open) and looked at, at a quiet moment. From then on
  the median of a process's resident memory over the last tenth of the measured time may exceed the
  median over its first tenth by the growth that is allowed: 5 %.
- *From generation to generation.* The median of the memory of the last generation's processes at
  an age may exceed that of the first generation's at the same age by the same growth. Where they
  live for less than 20 s they are not compared: at that age they still load the application.

Threads, descriptors and sockets are compared between the two quiet moments, and none may be more.
"""

from __future__ import annotations

from dataclasses import dataclass

RELOADING = 0.4
"""The share of the time in which there are reloads."""

BETWEEN_RELOADS = 30.0
"""Seconds, where there is the time for it; there are two reloads at least, one of each kind."""

SETTLING = 60.0
"""Seconds at most, and not more than a quarter of what is left after the last reload."""

EDGE = 0.1
"""The share of the measured time at its begin and at its end whose medians are compared."""

LONG_LIFE = 20.0
"""Seconds from which on generations are compared."""

AGES = (0.4, 0.8)
"""Between which shares of the time from reload to reload generations are compared."""


@dataclass(frozen=True)
class Times:
    """The lengths of the parts of a soak, all in seconds.

    Args:
        seconds: the whole.
    """

    seconds: float

    @property
    def reloading(self) -> float:
        """The part with reloads, at the begin."""
        return RELOADING * self.seconds

    @property
    def reloads(self) -> int:
        """How many there are in it: an even number."""
        return max(2, 2 * int(self.reloading / BETWEEN_RELOADS / 2))

    @property
    def between_reloads(self) -> float:
        """The life of a generation."""
        return self.reloading / self.reloads

    @property
    def settling(self) -> float:
        """From the last reload to the reference moment."""
        return min(SETTLING, (self.seconds - self.reloading) / 4)

    @property
    def measured(self) -> float:
        """From the reference moment to the end."""
        return self.seconds - self.reloading - self.settling
