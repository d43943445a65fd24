"""Sizes and times as nginx and Docker write them."""

from __future__ import annotations

import re

_SECONDS = {
    "us": 1e-6,
    "ms": 0.001,
    "s": 1.0,
    "": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "M": 2_592_000.0,  # nginx: 30 days
    "y": 31_536_000.0,  # 365 days
}
_BYTES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}

_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|[smhdwMy]?)\s*")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(?:i?b)?")


def seconds(text: str) -> float:
    """A time as seconds: ``30``, ``30s``, ``1m30s``, ``1h 30m``, ``500ms``.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    total, end = 0.0, 0
    while end < len(text):
        match = _TIME.match(text, end)
        if match is None:
            break
        total += float(match[1]) * _SECONDS[match[2]]
        end = match.end()
    if not text or end < len(text):
        raise ValueError(f"{text!r} is no time, such as 30s or 1m30s")
    return total


def bytes_of(text: str) -> int:
    """A size as bytes: ``8k``, ``1m``, ``2304m``, ``1g``, ``512MB``, ``1024``.

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no size, such as 8k or 1m")
    return int(float(match[1]) * _BYTES[match[2]])
