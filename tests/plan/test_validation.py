"""`make validate-plan`, but for the measuring: what it makes of measurements."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from commonpool.chain.measured import Measurements
from commonpool.plan.fitting import Estimate, Prediction
from stack.plan import page, validation
from tests.plan.helpers import measured

RATES = (4.0, 6.0, 10.0, 14.0, 20.0)


@pytest.fixture(scope="module")
def measurements() -> Measurements:
    given = measured(rates=RATES, rounds=1, seconds=60)
    runs = [dataclasses.replace(run, round=validation.FIRST) for run in given.runs]
    probe = dataclasses.replace(runs[0], rps=99.0, round=validation.PROBE)
    return dataclasses.replace(given, runs=[probe, *runs])


def test_every_other_load_is_not_used_for_the_fit(measurements: Measurements) -> None:
    unseen = page.unseen(measurements)
    assert unseen == [6.0, 14.0]
    fitted, compared = validation.compare(measurements, unseen)
    assert [load.rps for load in fitted.loads] == [4.0, 10.0, 20.0]
    assert [load.rps for load in compared] == unseen
    for load in compared:  # the measurements are the model's own, and few
        p50, p99 = load.errors()
        assert abs(p50) < 0.2
        assert abs(p99) < 0.6
    shown = page.table(measurements, fitted, compared)
    assert shown.count("\n| 6 |") == shown.count("\n| 14 |") == 1
    assert "fitted to 4, 10, 20 requests/s" in shown


@pytest.mark.parametrize(
    ("p50", "p99", "good"), [(0.11, 0.25, True), (0.12, 0.2, False), (0.1, 0.27, False)]
)
def test_good_is_within_15_and_30_percent(p50: float, p99: float, *, good: bool) -> None:
    predicted = Prediction(Estimate(p50, p50, p50), Estimate(p99, p99, p99))
    load = validation.Compared(10.0, 100, 0, (0.1, 0.2), predicted)
    assert load.errors() == pytest.approx((p50 / 0.1 - 1, p99 / 0.2 - 1))
    assert load.is_good() is good


def test_the_figures_come_between_their_marks(tmp_path: Path) -> None:
    shown = tmp_path / "tuning.md"
    shown.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    assert page.write(tmp_path, "new") == shown
    assert shown.read_text() == f"before\n{page.BEGIN}\nnew\n{page.END}\nafter\n"


def test_without_marks_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tuning\.md"):
        page.write(tmp_path, "new")
    (tmp_path / "tuning.md").write_text("no marks\n")
    with pytest.raises(FileNotFoundError, match="has no line"):
        page.write(tmp_path, "new")
