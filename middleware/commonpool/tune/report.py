"""``report.html``: all of it in one file, with no network."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from typing import Any

import jinja2

from commonpool.chain.figures import milliseconds
from commonpool.chain.measured import Run, Sizes
from commonpool.tune import plots, table
from commonpool.tune.edits import Change
from commonpool.tune.errors import TuneError
from commonpool.tune.grid import words
from commonpool.tune.search import CURVES, Found
from commonpool.tune.serving import hide_passwords
from commonpool.tune.tuning import Tuning
from commonpool.tune.verdict import Row, Verdict

NAME = "report.html"
DIFF = "recommended.diff"
RESULT = "result.json"
_MOST_CURVES = 6


def write(tuning: Tuning, verdict: Verdict, change: Change, interrupted: str) -> None:
    """Write the report, the plot and the diff into the output folder.

    Args:
        tuning: what was done.
        verdict: what came out.
        change: of the user's files.
        interrupted: why it ended early, in a sentence; else empty.

    Raises:
        TuneError: the folder cannot be written.
    """
    folder = tuning.asked.output
    svg = plots.draw(_shown(tuning, verdict), verdict.goal, _marks(verdict), folder)
    diff = change.diff()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files("commonpool.tune").joinpath("report.html.jinja").read_text("utf-8")
    text = environment.from_string(source).render(
        asked=tuning.asked,
        goal=verdict.goal,
        verdict=verdict,
        columns=table.columns(verdict),
        rows=[(row, table.cells(row, verdict)) for row in verdict.rows],
        diff=[(_kind(line), line) for line in diff.splitlines()],
        notes=change.notes,
        svg=svg[svg.index("<svg") :],
        facts=facts(tuning, verdict),
        cautions=cautions(tuning),
        left_out=[found for found in _found(tuning) if found.reason],
        words=words,
        interrupted=interrupted,
    )
    try:
        (folder / RESULT).write_text(json.dumps(result(verdict), indent=2) + "\n", encoding="utf-8")
        (folder / NAME).write_text(text, encoding="utf-8", errors="backslashreplace")
        (folder / DIFF).write_text(diff, encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise TuneError(f"{folder} cannot be written: {error.strerror or error}") from None


def result(verdict: Verdict) -> dict[str, Any]:
    """The verdict for programs."""

    def told(row: Row | None) -> dict[str, Any] | None:
        if row is None:
            return None
        values = dataclasses.asdict(row) | {"interval": list(row.interval)}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
            if name != "interval" or all(map(math.isfinite, row.interval))
        }

    return {
        "goal": {"p99": verdict.goal.p99, "rps": verdict.goal.rps, "derived": verdict.goal.derived},
        "meets": verdict.meets,
        "sure": verdict.sure,
        "recommended": told(verdict.recommended),
        "present": told(verdict.present),
        "alike": [dataclasses.asdict(sizes) for sizes in verdict.alike],
        "sentences": list(verdict.sentences),
    }


def facts(tuning: Tuning, verdict: Verdict) -> dict[str, str]:
    """What was measured, where and how, in pairs of words."""
    alone, search, measuring = tuning.alone, tuning.search, tuning.measuring
    told = {
        "Page": tuning.asked.target,
        "File": str(tuning.asked.ini),
        "Goal": f"{verdict.goal}{' (derived)' if verdict.goal.derived else ''}",
        "Machine": f"{tuning.cores} cores, Python {platform.python_version()}, "
        f"commonpool {version('commonpool')}",
        "When": dt.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }
    if alone is not None:
        told["One request, alone"] = (
            f"{milliseconds(alone.median)} (median of {len(alone.latencies)}), "
            f"{milliseconds(alone.processor_seconds)} of a processor, {alone.tasks:.3g} tasks"
        )
    if search is not None and measuring is not None:
        searched = search.seconds or measuring.spent
        share = searched / search.full_seconds
        told["Measured"] = f"{searched:.0f} s of load to find it" + (
            f"; all {len(search.settings)} settings, each measured as the finalists are, would "
            f"be {search.full_seconds:.0f} s ({share:.0%})"
            if share < 1
            else ""
        )
        told["Took"] = (
            f"{tuning.seconds:.0f} s in all, {search.rounds_made} rounds of the finalists"
        )
    return told


def cautions(tuning: Tuning) -> list[str]:
    """What limits what the figures say."""
    said = [
        "nginx is not in the way: its own time, and what it holds off, are not in the figures.",
        f"The load comes from the same machine and shares its {os.cpu_count()} cores.",
    ]
    if tuning.measuring is not None:
        if tuning.measuring.redirect:
            said.append(
                f"{tuning.asked.target} answers with a redirect to "
                f"{hide_passwords(tuning.measuring.redirect)[:200]}: that answer is what was "
                "measured, not the page behind it."
            )
        for sizes, note in sorted(tuning.measuring.notes.items()):
            said.append(f"{words(sizes)}: {note}, so part of the latency is its own.")
        said.extend(failed(tuning.measuring.errors))
    return said


def failed(errors: Mapping[Sizes, str]) -> list[str]:
    """What requests ended in: a sentence for each kind, not for each setting."""
    said = []
    for error in sorted(set(errors.values())):
        first, *others = sorted(sizes for sizes in errors if errors[sizes] == error)
        more = f" and {len(others)} more" if others else ""
        said.append(f"{words(first)}{more}: requests failed: {error}")
    return said


def _found(tuning: Tuning) -> list[Found]:
    return [] if tuning.search is None else list(tuning.search.found.values())


def _shown(tuning: Tuning, verdict: Verdict) -> Mapping[Sizes, list[Run]]:
    """The finalists' loads; where there are none, those of the best rows."""
    assert tuning.measuring is not None  # noqa: S101
    finalists = [row.sizes for row in verdict.rows if row.final][:_MOST_CURVES]
    shown = finalists or [row.sizes for row in verdict.rows][:_MOST_CURVES]
    if verdict.present is not None and verdict.present.sizes not in shown:
        shown.append(verdict.present.sizes)
    return {sizes: _long(tuning.measuring.runs, sizes) for sizes in shown}


def _long(runs: Sequence[Run], sizes: Sizes) -> list[Run]:
    """The loads on a setting; of a finalist not the short ones of the search, which waited less."""
    all_of_it = [run for run in runs if run.sizes == sizes]
    return [run for run in all_of_it if run.round >= CURVES] or all_of_it


def _marks(verdict: Verdict) -> dict[Sizes, str]:
    marks: dict[Sizes, str] = {}
    if verdict.present is not None:
        marks[verdict.present.sizes] = " (at present)"
    if verdict.recommended is not None:
        sizes = verdict.recommended.sizes
        marks[sizes] = " (recommended)" if sizes not in marks else " (at present, recommended)"
    return marks


def _kind(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "file"
    return {"+": "added", "-": "removed", "@": "place"}.get(line[:1], "")
