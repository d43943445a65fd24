"""What a finding is, and how a check makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from commonpool.chain.model import Chain, Setting


class Level(Enum):
    """How bad it is.

    Attributes:
        OK: it was looked at, and is well.
        WARN: it may cost requests, or hides what does.
        FAIL: it loses requests, or breaks, for sure.
    """

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """What one check has to say of a chain.

    Attributes:
        id: of the check; it does not change from one version to the next.
        level: see `Level`.
        file: where `fix` belongs, or what was seen stands; empty where that is no file.
        line: in that file, from 1; 0 where there is none yet.
        message: what is seen, with the numbers.
        why: one sentence.
        fix: what to write in `file`; empty where all is well.
    """

    id: str
    level: Level
    file: str
    line: int
    message: str
    why: str
    fix: str


@dataclass(frozen=True)
class Seen:
    """What a check has seen, before it is a finding of that check.

    Attributes:
        level: see `Level`.
        message: what is seen, with the numbers.
        places: settings that it is about, the one to be changed first; of these the first that
            stands in a file is where the finding is.
        fix: what to write there.
        file: where to write it, where none of the places is a file.
    """

    level: Level
    message: str
    places: tuple[Setting | None, ...] = ()
    fix: str = ""
    file: str = ""


def ok(message: str, *places: Setting | None, file: str = "") -> Seen:
    """All is well."""
    return Seen(Level.OK, message, places, "", file)


def warn(message: str, *places: Setting | None, fix: str, file: str = "") -> Seen:
    """It may cost requests."""
    return Seen(Level.WARN, message, places, fix, file)


def fail(message: str, *places: Setting | None, fix: str, file: str = "") -> Seen:
    """It does cost requests."""
    return Seen(Level.FAIL, message, places, fix, file)


Look = Callable[[Chain], Iterator[Seen]]

NO_FILES = {"", "default", "environment", "kernel", "database", "stats socket", "application"}
"""Where a setting may stand that is no file (`Setting.file`)."""


@dataclass(frozen=True)
class Check:
    """What looks for one finding.

    Attributes:
        id: of its findings.
        levels: that these may have, but for OK.
        why: one sentence: what it does to whom.
        look: yields nothing where the facts were not read.
    """

    id: str
    levels: tuple[Level, ...]
    why: str
    look: Look

    @property
    def sees(self) -> str:
        """What it looks for, in a few words."""
        return (inspect.getdoc(self.look) or "").partition("\n")[0].rstrip(".")

    def __call__(self, chain: Chain) -> Iterator[Finding]:
        """Look at a chain."""
        for seen in self.look(chain):
            file, line = _where(seen)
            yield Finding(self.id, seen.level, file, line, seen.message, self.why, seen.fix)


def check(name: str, *levels: Level, why: str) -> Callable[[Look], Check]:
    """Make a check of a function that looks; its docstring's first line says what for.

    Args:
        name: the id of its findings.
        levels: that they may have, but for OK.
        why: one sentence: what it does to whom.
    """

    def made(look: Look) -> Check:
        return Check(name, levels, why, look)

    return made


def _where(seen: Seen) -> tuple[str, int]:
    for place in seen.places:
        if place is not None and place.file not in NO_FILES:
            return place.file, place.line
    return seen.file, 0
