"""Waiting for something that only looking can tell."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FIRST_PAUSE = 0.01  # seconds: what is nearly there is seen at once
_LONGEST_PAUSE = 0.2  # seconds: what takes its time is not disturbed


def wait_until(
    condition: Callable[[], T],
    limit: float = 10.0,
    *,
    what: str = "the condition",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Ask ``condition`` again and again, and return its first true answer.

    Args:
        condition: asked at least once. An exception that it raises ends the waiting.
        limit: seconds.
        what: what is waited for, in words for the error.
        clock: tells seconds.
        sleep: pauses for seconds.

    Raises:
        TimeoutError: no true answer within ``limit``.
    """
    end = clock() + limit
    pause = _FIRST_PAUSE
    while True:
        answer = condition()
        if answer:
            return answer
        left = end - clock()
        if left <= 0:
            raise TimeoutError(f"waited {limit:g} s for {what}; the last answer was {answer!r}")
        sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
