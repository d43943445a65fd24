"""What a Dockerfile sets in the environment of its image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator


def variables(text: str) -> Iterator[tuple[str, str, int]]:
    """The variables that ``ENV`` sets in the last stage: name, value, number of the line.

    Those that build on others (``$PATH``) are left out, since those of other stages are not known.
    """
    found: list[tuple[str, str, int]] = []
    for number, line in _instructions(text):
        word, _, rest = line.partition(" ")
        if word.upper() == "FROM":
            found = []
        elif word.upper() == "ENV":
            found += [
                (name, value, number) for name, value in _assignments(rest) if "$" not in value
            ]
    yield from found


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """The instructions of a Dockerfile, each on one line, with the number of its first."""
    parts: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        start = start or number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            yield start, " ".join(parts)
            parts, start = [], 0


def _assignments(text: str) -> list[tuple[str, str]]:
    """``A=1 B="2 3"``, or ``A 1``."""
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    if words and "=" not in words[0]:
        return [(words[0], " ".join(words[1:]))]
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]
