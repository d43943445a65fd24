"""Latency against load, for each setting: PNG and SVG. Drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from commonpool.chain.measured import Run, Sizes
from commonpool.tune.errors import TuneError
from commonpool.tune.goal import Goal
from commonpool.tune.grid import words
from commonpool.tune.statistics import percentile

mpl.use("Agg")

NAME = "latency"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito
_MARKS = "os^Dvx"


def curves(runs: Sequence[Run]) -> dict[float, tuple[float, float]]:
    """The p50 and p99 of one setting at each rate at which all its requests were answered."""
    by_rate: dict[float, list[float]] = {}
    bad = {round(run.rps, 6) for run in runs if run.failures}
    for run in runs:
        if round(run.rps, 6) not in bad and run.latencies:
            by_rate.setdefault(round(run.rps, 6), []).extend(run.latencies)
    return {
        rate: (percentile(by_rate[rate], 0.5), percentile(by_rate[rate], 0.99))
        for rate in sorted(by_rate)
    }


def draw(
    shown: Mapping[Sizes, Sequence[Run]], goal: Goal, marks: Mapping[Sizes, str], folder: Path
) -> str:
    """Write the plot as PNG and SVG.

    Args:
        shown: the loads of each setting.
        goal: whose lines are drawn.
        marks: what is to be said of a setting beside its sizes.
        folder: for both files.

    Returns:
        The SVG, for a page.

    Raises:
        TuneError: a file cannot be written.
    """
    with mpl.rc_context({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "commonpool"}):
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        try:
            _fill(axes, shown, goal, marks)
            svg = io.StringIO()
            figure.savefig(svg, format="svg", metadata={"Date": None})
            try:
                figure.savefig(folder / f"{NAME}.png", dpi=150)
                (folder / f"{NAME}.svg").write_text(svg.getvalue(), encoding="utf-8")
            except OSError as error:
                raise TuneError(f"{folder} cannot be written: {error.strerror or error}") from None
        finally:
            plt.close(figure)
    return svg.getvalue()


def _fill(
    axes: Any, shown: Mapping[Sizes, Sequence[Run]], goal: Goal, marks: Mapping[Sizes, str]
) -> None:
    for number, (sizes, runs) in enumerate(shown.items()):
        points = curves(runs)
        if not points:
            continue
        colour = _COLOURS[number % len(_COLOURS)]
        mark = _MARKS[number % len(_MARKS)]
        name = f"{words(sizes)}{marks.get(sizes, '')}"
        axes.plot(
            list(points),
            [1000 * p99 for _, p99 in points.values()],
            color=colour,
            marker=mark,
            markersize=5,
            label=name,
        )
        axes.plot(
            list(points),
            [1000 * p50 for p50, _ in points.values()],
            color=colour,
            linestyle=":",
            linewidth=1,
        )
    axes.axhline(1000 * goal.p99, color="#444444", linewidth=1, linestyle="--")
    axes.annotate(
        f"p99 \N{LESS-THAN OR EQUAL TO} {1000 * goal.p99:g} ms",
        (0, 1000 * goal.p99),
        xycoords=("axes fraction", "data"),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=9,
        color="#444444",
    )
    if goal.rps is not None:
        axes.axvline(goal.rps, color="#444444", linewidth=1, linestyle="--")
    axes.set_xlabel("requests/s that were due")
    axes.set_ylabel("latency in ms")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlim(left=0)
    axes.grid(visible=True, which="both", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            title="p99 (dotted: median)", fontsize=9, title_fontsize=9, frameon=False, loc="best"
        )
