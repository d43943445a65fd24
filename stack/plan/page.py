"""The figures, as the documentation shows them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from commonpool.chain.figures import milliseconds
from commonpool.chain.measured import Measurements
from commonpool.plan.fitting import Estimate, Fit
from stack.compare.machine import machine
from stack.plan import validation
from stack.plan.validation import Compared

BEGIN = "<!-- figures of make validate-plan: begin -->"
END = "<!-- figures of make validate-plan: end -->"
PAGE = "tuning.md"


def unseen(measurements: Measurements) -> list[float]:
    """The rates that the fit is not to see: every other one, from the second."""
    rates = sorted({run.rps for run in measurements.runs if run.round >= validation.FIRST})
    return rates[1::2]


def table(measurements: Measurements, fitted: Fit, compared: Sequence[Compared]) -> str:
    """The figures in Markdown, which people can read as well."""
    return "\n".join(_lines(measurements, fitted, compared))


def write(folder: Path, text: str) -> Path:
    """Put the figures between their marks in the page that has them.

    Args:
        folder: of the documentation.
        text: the figures.

    Raises:
        FileNotFoundError: there is no such page, or it has no marks.
    """
    path = folder / PAGE
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise FileNotFoundError(f"{path} has no line {BEGIN}, or none with its end")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return path


def _lines(measurements: Measurements, fitted: Fit, compared: Sequence[Compared]) -> Iterator[str]:
    hardware = machine()
    runs = [run for run in measurements.runs if run.round >= validation.FIRST]
    each = max(sum(run.rps == compared[0].rps for run in runs), 1)
    yield (
        f"{datetime.now(UTC):%Y-%m-%d}, {hardware['processor']}, {hardware['memory']}, Python "
        f"{sys.version_info.major}.{sys.version_info.minor}; `make validate-plan`: {each} x "
        f"{runs[0].seconds:g} s for each load, fitted to "
        + ", ".join(f"{load.rps:g}" for load in fitted.loads)
        + " requests/s."
    )
    yield ""
    yield "| requests/s | answered | | predicted (90 %) | measured | error | to be within |"
    yield "|---|---|---|---|---|---|---|"
    for load in compared:
        estimates = (load.predicted.p50, load.predicted.p99)
        for name, estimate, measured, error, most in zip(
            ("p50", "p99"),
            estimates,
            load.measured,
            load.errors(),
            validation.WITHIN,
            strict=True,
        ):
            rate = (f"{load.rps:g}", f"{load.requests:,}") if name == "p50" else ("", "")
            yield (
                f"| {rate[0]} | {rate[1]} | {name} | {_estimate(estimate)} | "
                f"{milliseconds(measured)} | {error:+.1%} | {most:.0%} |"
            )


def _estimate(estimate: Estimate) -> str:
    return (
        f"{milliseconds(estimate.value)} ({milliseconds(estimate.low)} to "
        f"{milliseconds(estimate.high)})"
    )
