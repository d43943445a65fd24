"""What is asked of a setting, and whether a load has shown it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from commonpool.chain.figures import milliseconds, per_second
from commonpool.chain.measured import Run
from commonpool.tune.statistics import percentile

_OF_UNLOADED = 3.0  # times the median of the unloaded requests, where no limit is given
_LEAST = 0.05  # seconds: below that, the limit would measure the machine's hiccups

_PATIENCE = 4.0  # times the limit, after which a request counts as not answered
_LEAST_PATIENCE = 2.0  # seconds
_HURRY = 1.5  # times the limit, where it is only asked whether it is kept
_LEAST_HURRY = 0.5  # seconds


@dataclass(frozen=True)
class Goal:
    """What is asked.

    Attributes:
        p99: seconds; 99 of 100 requests are to be answered within them, counted from when each was
            due.
        rps: requests a second that are to be served; `None` to look for the most.
        derived: whether the limit was not given but comes from the unloaded latency.
    """

    p99: float
    rps: float | None = None
    derived: bool = False

    @property
    def patience(self) -> float:
        """Seconds after which a request without an answer has failed."""
        return max(_PATIENCE * self.p99, _LEAST_PATIENCE)

    @property
    def hurry(self) -> float:
        """The same where it is only asked whether the limit is kept."""
        return max(_HURRY * self.p99, _LEAST_HURRY)

    def is_met(self, run: Run) -> bool:
        """Whether a load was served: every request well, and 99 of 100 in time."""
        return not run.failures and 0 < p99(run) <= self.p99

    def __str__(self) -> str:
        """Such as ``200 requests/s at p99 <= 250 ms``."""
        what = "the most requests/s" if self.rps is None else f"{per_second(self.rps)} requests/s"
        return f"{what} at p99 <= {milliseconds(self.p99)}"


def p99(run: Run) -> float:
    """Seconds; infinite where nothing was answered."""
    return percentile(run.latencies, 0.99) if run.latencies else math.inf


def limit_from(unloaded: float) -> float:
    """A limit for the p99 that follows from what one request takes on an idle machine.

    Args:
        unloaded: seconds, the median.
    """
    return max(round(_OF_UNLOADED * unloaded, 3), _LEAST)
