"""Measured times and rates as people read them."""

from __future__ import annotations

import math


def milliseconds(seconds: float) -> str:
    """A time: ``81.2 ms``, ``1,250 ms``; ``none`` for one that is infinite."""
    if not math.isfinite(seconds):
        return "none"
    value = seconds * 1000
    return f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms"  # noqa: PLR2004


def per_second(rate: float) -> str:
    """A rate in three digits, but whole where it is large: ``3.09``, ``31.6``, ``1,250``."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"  # noqa: PLR2004
