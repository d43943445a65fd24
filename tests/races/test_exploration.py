"""The same races in all orders that make a difference, by `frontrun`; see `explored`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.races.explored import RACES

ROOT = Path(__file__).parents[2]

ORDERS = 40
"""Of each race. All of them are thousands; `explored` takes another number."""

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("frontrun") is None, reason="frontrun is not installed"
    ),
    pytest.mark.timeout(180),
]


def explore(*arguments: str) -> str:
    """Run the program; what it says."""
    # a process of its own, since frontrun puts its locks in the place of Python's
    done = subprocess.run(
        [sys.executable, "-m", "tests.races.explored", *arguments],
        cwd=ROOT,
        env={**os.environ, "FRONTRUN_ACTIVE": "1"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("race", RACES)
def test_no_order_of_steps_breaks(race):
    assert explore(race, str(ORDERS)).split()[:2] == [str(ORDERS), "True"]


@pytest.mark.parametrize("race", ["claim", "deadline"])
def test_without_the_lock_an_order_that_breaks_is_found(race):
    explored, holds, *why = explore(race, "1000", "unguarded").split()
    assert holds == "False", why
    assert int(explored) <= 1000
