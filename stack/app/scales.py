"""Round numbers for axes."""

from __future__ import annotations

import math

_ROUND = (1, 2, 5, 10)
_LEEWAY = 0.75  # a third more numbers than asked for is better than half as many


def nice_ticks(most: float, *, about: int) -> list[float]:
    """Return round numbers above zero, evenly apart, up to ``most``: ``about`` as many as asked.

    At least one is returned, which may be above ``most``.
    """
    raw = most / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in _ROUND if factor * magnitude >= raw * _LEEWAY)
    return [round(step * count, 6) for count in range(1, max(1, math.floor(most / step)) + 1)]
