"""What the tasks of the soak do: right, wrong, slowly, and unheard."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from typing import Any

from stack.soak.counts import counts


class OddError(Exception):
    """An error that cannot be made again from its arguments, as some libraries' are."""

    def __init__(self, number: int, *, why: str) -> None:
        super().__init__(f"{number}: {why}")
        self.number = number


class SlottedError(Exception):
    """An error with a text of its own making."""

    def __str__(self) -> str:
        """A text that says nothing."""
        return "..."


ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    KeyError,
    ZeroDivisionError,
    ConnectionResetError,
    TimeoutError,
    CancelledError,
    StopIteration,
    OddError,
    SlottedError,
)


def square(number: int) -> int:
    """A right answer that anybody can check."""
    return number * number


def slow_square(number: int, seconds: float) -> int:
    """The same, later."""
    time.sleep(seconds)
    return square(number)


def fail(kind: int) -> Any:
    """Raise one of `ERRORS`."""
    error = ERRORS[kind]
    raise OddError(kind, why="it had to be") if error is OddError else error(kind)


def in_background(seconds: float) -> None:
    """Work that goes on after its request."""
    time.sleep(seconds)
    counts.add("background done")


def fail_in_background(kind: int) -> None:
    """Work that fails after its request."""
    counts.add("background done")
    counts.add("raised unheard")
    unheard(kind)


def fail_unread(kind: int) -> None:
    """A failure that nobody asks for."""
    counts.add("raised unheard")
    unheard(kind)


def unheard(kind: int) -> None:
    """Raise one of `ERRORS`, but not what stands for the pool's own doing."""
    fail(0 if ERRORS[kind] is CancelledError else kind)
