"""What was found, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from commonpool.chain.model import Unreadable
from commonpool.doctor.findings import Finding, Level

# Exit statuses.
ALL_OK, WARNINGS, FAILURES, COULD_NOT_LOOK = range(4)

Line = tuple[str, str]
"""A line, and how it is to look: ``FAIL``, ``WARN``, ``OK``, ``dim`` or nothing."""

_INDENT = 6


def status(findings: Sequence[Finding], unreadable: Sequence[Unreadable]) -> int:
    """The exit status: what could not be looked at counts before what was found."""
    if unreadable:
        return COULD_NOT_LOOK
    levels = {finding.level for finding in findings}
    if Level.FAIL in levels:
        return FAILURES
    return WARNINGS if Level.WARN in levels else ALL_OK


def as_json(
    findings: Sequence[Finding], unreadable: Sequence[Unreadable], files: Sequence[str]
) -> str:
    """The findings as an object of JSON, in ASCII."""
    found: list[Mapping[str, Any]] = [
        {
            "id": finding.id,
            "level": finding.level.value,
            "file": finding.file,
            "line": finding.line,
            "message": finding.message,
            "fix": finding.fix,
        }
        for finding in findings
    ]
    missed = [
        {"what": one.what, "file": one.file, "line": one.line, "message": one.message}
        for one in unreadable
    ]
    return json.dumps({"findings": found, "read": list(files), "could_not_look": missed}, indent=2)


def asked_for(
    unreadable: Sequence[Unreadable], *, load: bool, compose: bool = True
) -> list[Unreadable]:
    """What could not be looked at although somebody has asked for it.

    The application's code is looked at where it is at hand; it is asked for with `load` alone. A
    compose file that is there may be for a database to develop with; its service with the
    application is asked for with `compose`. What is wrong with the pool's settings is a finding
    (`pool-setting-wrong`).
    """
    asked = {"pool": False, "application": load, "service": compose}
    return [one for one in unreadable if asked.get(one.what, True)]


def lines(
    findings: Sequence[Finding], unreadable: Sequence[Unreadable], *, width: int, every: bool
) -> Iterator[Line]:
    """The findings for people, what is worst first, and a last line that counts them.

    Args:
        findings: in their order.
        unreadable: what could not be looked at.
        width: of a line, at most.
        every: what is well, too.
    """
    for finding in findings:
        if finding.level is Level.OK:
            continue
        yield from _one(finding, width)
        yield "", ""
    if every:
        for finding in findings:
            if finding.level is Level.OK:
                yield from _folded(f"OK    {finding.id}: {finding.message}", width, _INDENT, "OK")
        yield "", ""
    for one in unreadable:
        yield from could_not_look(one, width)
    yield from _folded(summary(findings, unreadable), width, 0, "")


def could_not_look(one: Unreadable, width: int) -> Iterator[Line]:
    """What could not be looked at, in a line."""
    place = _place(one.file, one.line)
    what = f"{one.what}: " if one.what and one.what != one.file else ""
    where = f"{place}: " if place else ""
    yield from _folded(f"COULD NOT LOOK at {what}{where}{one.message}", width, _INDENT, "FAIL")


def summary(findings: Sequence[Finding], unreadable: Sequence[Unreadable]) -> str:
    """One sentence."""
    counts = [sum(1 for one in findings if one.level is level) for level in Level]
    good, warnings, failures = counts
    well = len({one.id for one in findings if one.level is Level.OK})
    parts = []
    if failures:
        parts.append(_count(failures, "failure"))
    if warnings:
        parts.append(_count(warnings, "warning"))
    if unreadable:
        parts.append(f"{_count(len(unreadable), 'thing')} that could not be looked at")
    if not parts:
        return f"No finding: {_count(well, 'check')} looked, and all is well."
    rest = f"; what else {_count(well, 'check')} looked at is well (--all)" if good else ""
    return f"{' and '.join(parts) if len(parts) < 3 else ', '.join(parts)}{rest}."  # noqa: PLR2004


def _one(finding: Finding, width: int) -> Iterator[Line]:
    level = finding.level.value
    place = _place(finding.file, finding.line)
    yield from _folded(f"{level:<{_INDENT}}{finding.id}", width, _INDENT, level)
    yield from _folded(f"{'':{_INDENT}}{_sentence(finding.message)}", width, _INDENT, "")
    yield from _folded(f"{'':{_INDENT}}Why: {finding.why}", width, _INDENT, "dim")
    if finding.fix:
        where = f"Write in {place}:" if place else "Mend it so:"
        yield from _folded(f"{'':{_INDENT}}{where}", width, _INDENT, "")
        for line in finding.fix.splitlines():
            yield from _folded(f"{'':{_INDENT + 4}}{line}", width, _INDENT + 6, "fix")


def folded(text: str, width: int) -> Iterator[Line]:
    """A text of little weight, in lines."""
    return _folded(text, width, 2, "dim")


def _sentence(message: str) -> str:
    return message if message.endswith(".") else f"{message}."


def _place(file: str, line: int) -> str:
    return f"{file}:{line}" if file and line else file


def _folded(text: str, width: int, indent: int, style: str) -> Iterator[Line]:
    margin = " " * (len(text) - len(text.lstrip(" ")))
    folded = wrap(
        text.lstrip(" "),
        width,
        initial_indent=margin,
        subsequent_indent=" " * max(indent, 0),
        break_on_hyphens=False,
    )
    for line in folded or [""]:
        yield line, style


def _count(count: int, what: str) -> str:
    return f"{count} {what if count == 1 else what + 's'}"
