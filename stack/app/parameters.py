"""What a request may ask for: each parameter is read, checked and bounded here.

A bad one is answered with 400 and a sentence that says what would be right.
"""

from __future__ import annotations

import math
from typing import NoReturn

from flask import abort, request

from stack.app.runs import Mode

_SHOWN = 40  # characters of a bad value that the answer repeats


def mode_parameter() -> Mode:
    """Return ``mode`` of the request's query string; parallel where it is not given."""
    given = request.args.get("mode", Mode.PARALLEL.value)
    try:
        return Mode(given)
    except ValueError:
        return _refuse("mode", given, " or ".join(mode.value for mode in Mode))


def seconds_parameter(name: str, *, default: float, most: float) -> float:
    """Return a number of seconds of the query string, from 0 to ``most``."""
    given = request.args.get(name)
    if given is None:
        return default
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if 0 <= number <= most:  # false for NaN
        return number
    return _refuse(name, given, f"a number of seconds from 0 to {most:g}")


def count_parameter(name: str, *, default: int, most: int) -> int:
    """Return a whole number of the query string, from 1 to ``most``."""
    given = request.args.get(name)
    if given is None:
        return default
    # Not int(): it takes "1_0" and digits of any script, and is slow on very long ones.
    plain = given.isascii() and given.isdigit() and len(given) <= len(str(most))
    if plain and 1 <= int(given) <= most:
        return int(given)
    return _refuse(name, given, f"a whole number from 1 to {most}")


def _refuse(name: str, given: str, right: str) -> NoReturn:
    shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."
    abort(400, f"{name} is {shown!r}; it must be {right}")
