"""The conditions and loops in uWSGI's configuration: ``if-env`` and its like, ``for``."""

from __future__ import annotations

import glob
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from commonpool.chain.text_files import is_folder

HERE = "%(_)"
"""Stands for what the condition looked at, or for the turn of the loop."""

ENDS = frozenset({"end", "endfor", "endif", "end-if", "end-for"})


class Known(Protocol):
    """What conditions ask for."""

    def variable(self, name: str) -> str | None:
        """The environment variable, as it is while the files are read."""

    def option(self, name: str) -> str | None:
        """The first option or placeholder of that name."""


@dataclass
class Logic:
    """A condition or a loop that is not ended.

    Attributes:
        name: ``if-env``.
        argument: what it looks at.
    """

    name: str
    argument: str


def is_logic(name: str) -> bool:
    """Whether this begins a condition or a loop."""
    return name in _LOOPS or name in _CONDITIONS


def turns(logic: Logic, known: Known) -> list[str | None]:
    """What `HERE` stands for in a line under this, once for each time that the line counts.

    Returns:
        For a loop, its turns; for a condition that holds, one, `None` where `HERE` is left alone;
        nothing for a condition that does not hold. (uWSGI 2.0 has no ``else``.)
    """
    loop = _LOOPS.get(logic.name)
    if loop is not None:
        return list(loop(logic.argument))
    holds, here = _CONDITIONS[logic.name](logic.argument, known)
    return [here] if holds else []


def _readline(name: str) -> list[str]:
    try:
        with Path(name).open("rb") as file:
            lines = file.read(1_000_000).decode("utf-8", "backslashreplace").splitlines()
    except (OSError, ValueError):
        return []
    return lines


def _times(text: str) -> list[str]:
    return [str(number) for number in range(1, min(number_of(text), _MOST_TURNS) + 1)]


def _glob(pattern: str) -> list[str]:
    found = sorted(islice(glob.iglob(pattern), _MOST_TURNS))  # noqa: PTH207 - pathlib's refuses absolute patterns
    return [f"{name}/" if is_folder(name) else name for name in found] or [pattern]


def number_of(text: str) -> int:
    """What C's `atoi` makes of a text: the number that it begins with, or 0."""
    found = re.match(r"[ \t\r\n\v\f]*([+-]?[0-9]{1,18})", text)
    return int(found[1]) if found else 0


_MOST_TURNS = 10_000

_LOOPS: Mapping[str, Callable[[str], list[str]]] = {
    "for": lambda argument: [turn for turn in argument.split(" ") if turn],
    "for-glob": _glob,
    "for-times": _times,
    "for-readline": _readline,
}

_Answer = tuple[bool, str | None]


def _compared(found: str | None, wanted: str, *, has_wanted: bool) -> bool:
    return found is not None and (not has_wanted or found == wanted)


def _variable(argument: str, known: Known) -> _Answer:
    name, equals, wanted = argument.partition("=")
    found = known.variable(name)
    return _compared(found, wanted, has_wanted=bool(equals)), found


def _option(argument: str, known: Known) -> _Answer:
    name, equals, wanted = argument.partition("=")
    found = known.option(name)
    return _compared(found, wanted, has_wanted=bool(equals)), found


def _about(test: Callable[[str], bool]) -> Callable[[str, Known], _Answer]:
    def answer(argument: str, _known: Known) -> _Answer:
        try:
            return test(argument), argument
        except (OSError, ValueError, re.error):
            return False, argument

    return answer


def _not(
    condition: Callable[[str, Known], _Answer],
) -> Callable[[str, Known], _Answer]:
    def answer(argument: str, known: Known) -> _Answer:
        holds, here = condition(argument, known)
        return not holds, here

    return answer


_exists = _about(lambda name: Path(name).exists())
_is_file = _about(lambda name: Path(name).is_file())
_is_dir = _about(lambda name: Path(name).is_dir())
_hostname = _about(lambda name: socket.gethostname() == name)
_hostname_matches = _about(lambda pattern: re.search(pattern, socket.gethostname()) is not None)
_plugin = _about(lambda name: name in ("python", "python3", "0"))
# A file that is read anew is not a reload.
_reload = _about(lambda _: False)

_CONDITIONS: Mapping[str, Callable[[str, Known], _Answer]] = {
    "if-env": _variable,
    "ifenv": _variable,
    "if-not-env": _not(_variable),
    "if-opt": _option,
    "if-not-opt": _not(_option),
    "if-exists": _exists,
    "ifexists": _exists,
    "if-not-exists": _not(_exists),
    "if-file": _is_file,
    "if-not-file": _not(_is_file),
    "if-dir": _is_dir,
    "ifdir": _is_dir,
    "if-directory": _is_dir,
    "if-not-dir": _not(_is_dir),
    "if-plugin": _plugin,
    "ifplugin": _plugin,
    "if-not-plugin": _not(_plugin),
    "if-hostname": _hostname,
    "if-not-hostname": _not(_hostname),
    "if-hostname-match": _hostname_matches,
    "if-not-hostname-match": _not(_hostname_matches),
    "if-reload": _reload,
    "if-not-reload": _not(_reload),
}
