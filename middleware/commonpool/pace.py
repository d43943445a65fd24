"""Pace: for which tasks a worker is worth calling, from how long workers take to come.

To wake a thread costs microseconds on an idle machine. On a busy one the thread then waits for a
processor, and for the interpreter's lock, often for longer than a short query takes; and all that
it does there is taken from others. So tasks that are short beside that are left to their caller,
which is what sequential code does. Netflix's concurrency-limits and Envoy's adaptive concurrency
filter go by a latency and the least that was lately seen of it, as this does.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

# A worker is called for tasks that run for more than so many times as long as it takes to come.
WORTH = 4.0

# Seconds from which on tasks are worth a worker on any machine. Of five statements of 100 ms in a
# request 64 threads do 128 requests a second one after another, which is what a process does that
# has them side by side until its processor is at its end (130 to 175, measured).
LONG = 0.05

# A caller that runs tasks itself calls workers for the rest after one that ran for more than so
# many times as long as a worker takes to come.
SURPRISE = 8.0

# Seconds after which a worker that sleeps is woken only to see how long it takes.
LOOK_AGAIN = 0.02

# Seconds for which the time that workers take to come is remembered; and the least weight of one.
MEMORY = 0.1
LEAST_WEIGHT = 1 / 16

# By how much the least time that was seen grows with each time.
FORGETTING = 1.001

# What a place asks for is not taken for short while it has lately taken more than so many times as
# long as a worker takes to come, as on a busy machine only very few of what is short do.
OUTLIER = 32.0

# How much of the longest time that was seen is left with each time.
FADING = 0.99

MOST_PLACES = 4096


class Pace:
    """How long workers take to come, and how long tasks run, by where they are asked for.

    How long tasks run in the mean says little: on a busy machine that grows as fast as the time
    that workers take to come. So it goes by the least, and by the longest of late. Of the tasks of
    a fan-out the second longest is what counts: if that is short, all but one of them are.

    It takes no lock: where threads meet, a time is lost that many others stand for.

    Attributes:
        arrival: seconds from the waking of a worker to its arrival, in the mean.
        looked_at: when a worker has come last.
    """

    def __init__(self) -> None:
        self.arrival = 0.0
        self.looked_at = -math.inf
        self._times: dict[Hashable, tuple[float, float]] = {}  # the least, the longest of late

    def arrived(self, seconds: float, now: float) -> None:
        """A worker that was asleep has come so many seconds after it was woken."""
        weight = max(LEAST_WEIGHT, 1 - math.exp(min(0.0, (self.looked_at - now) / MEMORY)))
        self.arrival += weight * (seconds - self.arrival)
        self.looked_at = now

    def ran(self, place: Hashable, seconds: float) -> None:
        """The second longest of the tasks that a place asks for has run for so many seconds."""
        known = self._times.get(place)
        if known is None:
            if len(self._times) >= MOST_PLACES:
                self._times.clear()
            self._times[place] = seconds, seconds
            return
        least, longest = known
        more = least < seconds <= self.surprise
        self._times[place] = (
            min(seconds, FORGETTING * least) if more else seconds,
            max(seconds, FADING * longest),
        )

    def knows(self, place: Hashable) -> bool:
        """Whether it is known how long the tasks of a place run."""
        return place in self._times

    def keeps(self, place: Hashable) -> bool:
        """Whether no worker is worth calling for what a place asks for: it is known to be short."""
        known = self._times.get(place)
        if known is None:
            return False
        least, longest = known
        return least < min(WORTH * self.arrival, LONG) and longest < OUTLIER * self.arrival

    def is_surprising(self, seconds: float) -> bool:
        """Whether so much time is more than what was known to be short can take."""
        return seconds > self.surprise

    @property
    def surprise(self) -> float:
        """Seconds after which a task that was known to be short is not short any more."""
        return SURPRISE * self.arrival
