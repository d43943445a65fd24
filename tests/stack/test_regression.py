"""The pool costs no more than it did, in what does not depend on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stack.bench import __main__ as command
from stack.bench import regression
from stack.bench.counting import CountedPool

ROOT = Path(__file__).resolve().parents[2]


def test_the_pool_costs_no_more_than_is_recorded() -> None:
    if regression.recorded() is None:
        pytest.skip(f"nothing is recorded for Python {regression.PYTHON}")
    # in a process of its own: nothing else runs on its threads
    done = subprocess.run(
        [sys.executable, "-m", "stack.bench", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Has the command count what is given here."""
    monkeypatch.setattr(regression, "RECORD", tmp_path / "record.json")
    (tmp_path / "record.json").write_text("{}")

    def cost(**numbers: int) -> int:
        monkeypatch.setattr(regression, "measure", lambda: numbers)
        monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
        return command.main()

    return cost


def test_what_has_grown_by_more_than_a_tenth_is_an_error_with_the_numbers(costs, capsys) -> None:
    regression.record({"locks": 20, "instructions": 1000, "wake-ups": 0})
    assert costs(locks=22, instructions=1100) == 0
    assert capsys.readouterr().err == ""
    assert costs(locks=23, instructions=1101) == 1
    error = capsys.readouterr().err
    assert "locks: 23 instead of 20" in error
    assert "instructions: 1,101 instead of 1,000" in error


def test_a_first_wake_up_is_one_too_many(costs, capsys) -> None:
    regression.record({"wake-ups": 0})
    assert costs(**{"wake-ups": 1}) == 1
    assert "wake-ups: 1 instead of 0" in capsys.readouterr().err


def test_where_nothing_is_recorded_the_error_says_how_to(costs, capsys) -> None:
    assert costs(locks=22) == 1
    assert "make bench ARGS=--record" in capsys.readouterr().err


def test_what_is_counted_grows_with_what_is_done() -> None:
    counted = CountedPool(2)
    with counted.at_work():
        little = counted.cost(lambda: [counted.pool.submit(int).result() for _ in range(2)])
        much = counted.cost(lambda: [counted.pool.submit(int).result() for _ in range(20)])
    assert 5 < much.instructions / little.instructions < 11
    assert 5 < much.locks / little.locks < 11
