"""Plots, as PNG and SVG: a dot for each peer, and lines for latencies at given rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no window: before pyplot is imported

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stack.compare.peers import COMMONPOOL, SEQUENTIAL, title
from stack.compare.recording import Recording
from stack.compare.report import all_results
from stack.compare.results import Result
from stack.compare.rows import tails

OURS, REFERENCE, OTHERS = "#0b6e99", "#b0b0b0", "#d9a05b"
LINES = ("#c0504d", "#d9a05b", "#7f9a48", "#8064a2", "#4bacc6", "#8c6d31", "#e377c2", "#555555")

_FAR = 8  # times as large as the smallest: the scale is then logarithmic


def draw(recording: Recording, folder: Path) -> list[tuple[str, str]]:
    """Draw all that the recording has figures for.

    Args:
        recording: the run.
        folder: for the files; it is there.

    Returns:
        What each plot shows, and the name of its files, without an ending.
    """
    drawn = []
    lines: dict[str, list[Result]] = {}
    for result in all_results(recording):
        if len(result.figures) > 1 and result.row != tails.KEY:
            lines.setdefault(result.row, []).append(result)
    with plt.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "1"}
    ):
        for row, results in lines.items():
            name = f"row-{row}"
            _save(_dots(results), folder, name)
            drawn.append(("; ".join(result.what for result in results), name))
        if any(recording.peers(tails.KEY, tails.measure_of(99, rate)) for rate in tails.RATES):
            _save(_tails(recording), folder, tails.KEY)
            drawn.append(("Latencies at given rates", tails.KEY))
    return drawn


def _dots(results: Sequence[Result]) -> Any:
    """A panel for each line of a row: a dot and its spread for each peer, rules at limit and goal.

    Not bars: ratios that lie close together are told apart on an axis that does not begin at 0.
    """
    most = max(len(result.figures) for result in results)
    size = (8, len(results) * (1.3 + 0.28 * most))
    figure, panels = plt.subplots(len(results), 1, figsize=size, squeeze=False)
    for panel, result in zip(panels[:, 0], results, strict=True):
        ordered = sorted(result.figures.items(), key=lambda item: item[1].median)
        if not result.more:
            ordered.reverse()  # the best on top
        for place, (name, one) in enumerate(ordered):
            panel.errorbar(
                [one.median],
                [place],
                xerr=[[one.median - one.low], [one.high - one.median]],
                fmt="o",
                color=_color(result, name),
                markersize=7 if name.startswith(COMMONPOOL) else 5,
                capsize=3,
            )
        panel.set_yticks(
            range(len(ordered)),
            [f"{title(name)}   {result.shown(one.median)}" for name, one in ordered],
        )
        panel.set_ylim(-0.6, len(ordered) - 0.4)
        for number, style, what in ((result.limit, "-", "limit"), (result.target, "--", "goal")):
            if number is not None:
                label = f"{what} {result.shown(number)}"
                panel.axvline(number, color="#333333", linewidth=1, linestyle=style, label=label)
        if result.limit is not None or result.target is not None:
            panel.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
        _scale(panel, result)
        panel.grid(axis="y", color="#eeeeee")
        panel.set_axisbelow(True)
        panel.set_title(f"{result.row}  {_broken(result.what)}", loc="left", fontsize=9)
        panel.set_xlabel(result.unit or "ratio")
    figure.tight_layout()
    return figure


def _scale(panel: Any, result: Result) -> None:
    """Choose what an axis shows: all, on a logarithmic scale where it has to; or all but one.

    The reference is left out where it is so far away that nothing else could be told apart; its
    number stands beside its name.
    """
    others = [one for name, one in result.figures.items() if name != result.reference]
    shown = others or [*result.figures.values()]
    numbers = [number for one in shown for number in (one.low, one.high)]
    numbers += [number for number in (result.limit, result.target) if number is not None]
    least, most = min(numbers), max(numbers)
    if least > 0 and most > _FAR * least:
        panel.set_xscale("log")
        _plain(panel.xaxis)
        return
    margin = (most - least or most or 1) * 0.08
    reference = result.figures.get(result.reference or "")
    if reference is None or not least / 2 < reference.median < 2 * most:
        panel.set_xlim(least - margin, most + margin)


def _plain(axis: Any) -> None:
    """Write the numbers of a logarithmic axis as they are: 1, 2, 5, 10."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda number, _place: f"{number:g}"))
    axis.set_minor_formatter(NullFormatter())


def _color(result: Result, name: str) -> str:
    if name.startswith(COMMONPOOL):
        return OURS
    return REFERENCE if name == result.reference else OTHERS


def _broken(text: str, width: int = 80) -> str:
    """A title on as many lines as it needs."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}"
    return "\n".join(line.strip() for line in lines)


def _tails(recording: Recording) -> Any:
    """A panel for each percentile, a line for each peer."""
    figure, panels = plt.subplots(1, len(tails.PERCENTILES), figsize=(10, 4.5), squeeze=False)
    for panel, percentile in zip(panels[0], tails.PERCENTILES, strict=True):
        colors = iter(LINES)
        names = dict.fromkeys(
            name
            for rate in tails.RATES
            for name in recording.peers(tails.KEY, tails.measure_of(percentile, rate))
        )
        by_rate = {rate: tails.latencies(recording, percentile, rate) for rate in tails.RATES}
        for name in names:
            rates = [rate for rate in tails.RATES if name in by_rate[rate]]
            ours = name == COMMONPOOL
            panel.plot(
                rates,
                [by_rate[rate][name].median for rate in rates],
                marker="o",
                markersize=4,
                label=title(name),
                color=OURS if ours else "#222222" if name == SEQUENTIAL else next(colors),
                linewidth=2.5 if ours else 1.2,
                linestyle="--" if name == SEQUENTIAL else "-",
                zorder=3 if ours else 2,
            )
        panel.set_yscale("log")
        _plain(panel.yaxis)
        panel.set_xticks(tails.RATES)
        panel.set_title(f"p{percentile}", loc="left", fontsize=9)
        panel.set_xlabel("requests/s")
        panel.set_ylabel("ms")
        panel.grid(axis="y", which="both", color="#eeeeee")
    panels[0][-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    figure.tight_layout()
    return figure


def _save(figure: Any, folder: Path, name: str) -> None:
    for ending in ("png", "svg"):
        # No date: the same samples give the same file.
        metadata = {"Date": None} if ending == "svg" else None
        figure.savefig(folder / f"{name}.{ending}", dpi=120, bbox_inches="tight", metadata=metadata)
    plt.close(figure)
