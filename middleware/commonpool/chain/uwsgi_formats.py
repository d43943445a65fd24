"""The three formats that uWSGI's configuration is written in, as uWSGI itself takes them apart.

None of them is read quite as its own standard would have it: see each function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from commonpool.chain.text_files import NotReadError

EATEN = "\x01"
"""Stands where uWSGI joins two lines, so that those after it keep their numbers."""

_BLANKS = " \t\r"


@dataclass(frozen=True)
class Line:
    """One option as a file has it.

    Attributes:
        key: its name.
        value: with the magic variables (``%d``) filled in.
        number: of the line, from 1.
    """

    key: str
    value: str
    number: int


Parser = Callable[[str, str, str], Iterator[Line]]
"""Takes a text, the name of a section, and the name of the file for errors."""


def parser_of(path: str) -> Parser | None:
    """The parser for a file of this name; `None` if uWSGI would not take it for a configuration."""
    for ending, parser in _BY_ENDING.items():
        if path.endswith(ending):
            return parser
    return None


def ini(text: str, section: str, file: str) -> Iterator[Line]:
    """The options of all sections of that name, in turn.

    uWSGI takes what follows ``=`` as it stands, but for blanks at both ends: ``;`` and ``#`` begin
    a comment only at the beginning of a line.

    Raises:
        NotReadError: no section of that name has an option.
    """
    found = False
    inside = ""
    for number, line in _lines(text):
        stripped = line.strip(_BLANKS)
        if stripped.startswith("["):
            inside = stripped[1:-1]
        elif stripped and stripped[0] not in ";#" and inside == section:
            key, _, value = stripped.partition("=")
            found = True
            yield Line(key.rstrip(_BLANKS), value.strip(_BLANKS), number)
    if not found:
        raise NotReadError("uwsgi", file, 0, _no_section(text, section))


def _no_section(text: str, section: str) -> str:
    if text.startswith("\ufeff["):
        return "begins with a byte order mark, for which uWSGI does not see its first section"
    if not text.strip():
        return "is empty"
    if "[\0u\0w\0s\0g\0i\0]" in text:
        return "is UTF-16, which uWSGI does not read: it is to be UTF-8"
    return f"has no section [{section}] with options in it"


def yaml(  # noqa: C901 - the cases of one small parser
    text: str, section: str, file: str
) -> Iterator[Line]:
    """The options of the mapping of that name, as uWSGI's own small parser finds them.

    It knows no lists and no quotes: ``"2"`` is three characters. It stops at the first line that is
    no ``name: value`` of the section. (One that is built with libyaml reads lists, too.)

    Raises:
        NotReadError: no mapping of that name has an option, or it stopped before its end.
    """
    found = False
    inside = False
    depth = 0
    for number, line in _lines(text):
        content = line.partition("#")[0]
        if not content:
            continue
        indent = _indent(content)
        if indent <= depth:
            depth = indent
            if inside:
                break
        elif not inside:
            continue
        entry = content.lstrip(_BLANKS)
        if not entry:
            continue
        if entry[0] in "-[{":
            if inside:
                raise _stops(file, number)
            continue
        if not inside:
            name, colon, _ = entry.partition(":")
            inside = bool(colon) and name == section
            continue
        split = re.search(r": ", entry) or re.search(r":\t", entry)
        if split is None:
            raise _stops(file, number)
        key = entry[: split.start()].rstrip(" \t")
        found = True
        yield Line(key, entry[split.end() :].lstrip(_BLANKS).rstrip(" \t"), number)
    if not found:
        raise NotReadError("uwsgi", file, 0, f"has no mapping '{section}:' with options in it")


def _stops(file: str, number: int) -> NotReadError:
    return NotReadError(
        "uwsgi",
        file,
        number,
        "uWSGI's own YAML knows 'name: value' alone, no lists: it reads no further than this line",
    )


def _indent(line: str) -> int:
    depth = 0
    for character in line:
        if character == " ":
            depth += 1
        elif character in "\t\r":
            depth += 8
        else:
            break
    return depth


def json_(text: str, section: str, file: str) -> Iterator[Line]:
    """The options of the object of that name; a list is the option several times.

    Raises:
        NotReadError: it is no JSON, or has no such object.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotReadError("uwsgi", file, error.lineno, f"is no JSON: {error.msg}") from None
    except RecursionError:
        raise NotReadError("uwsgi", file, 0, "is no JSON for uWSGI: nested too deeply") from None
    options = tree.get(section) if isinstance(tree, dict) else None
    if not isinstance(options, dict):
        raise NotReadError("uwsgi", file, 0, f"has no object named {section!r}")
    places = _places(text, section)
    for key, value in options.items():
        numbers = places.get(key, [1])
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            written = _json_value(item)
            if written is not None:
                yield Line(key, written, numbers[min(index, len(numbers) - 1)])


def _json_value(value: object) -> str | None:
    if value is True:
        return "1"
    if value is False or value is None:
        return "0"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return None  # fractions and objects: uWSGI leaves them out


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


@dataclass
class _Open:
    """An object or a list that is not at its end yet."""

    kind: str
    key: str = ""
    awaits_key: bool = False


def _places(text: str, section: str) -> dict[str, list[int]]:
    """For each key of the object under `section`, the lines of its values (of valid JSON)."""
    places: dict[str, list[int]] = {}
    opened: list[_Open] = []
    number, seen = 1, 0
    for match in _TOKEN.finditer(text):
        mark = match[0]
        number += text.count("\n", seen, match.start())
        seen = match.start()
        top = opened[-1] if opened else None
        if mark == ":":
            continue
        if mark == ",":
            assert top is not None  # noqa: S101 - it is valid JSON
            top.awaits_key = top.kind == "{"
        elif mark in ("}", "]"):
            opened.pop()
        elif top is not None and top.awaits_key:
            top.key, top.awaits_key = str(json.loads(mark)), False
        else:
            kinds = "".join(part.kind for part in opened)
            is_value = kinds == "{{[" or (kinds == "{{" and mark != "[")
            if is_value and opened[0].key == section:
                places.setdefault(opened[1].key, []).append(number)
            if mark in ("{", "["):
                opened.append(_Open(mark, awaits_key=mark == "{"))
    return places


def _lines(text: str) -> Iterator[tuple[int, str]]:
    number = 1
    for line in text.split("\n"):
        yield number, line.partition("\0")[0].replace(EATEN, "")
        number += 1 + line.count(EATEN)


_BY_ENDING: dict[str, Parser] = {
    ".ini": ini,
    ".yaml": yaml,
    ".yml": yaml,
    ".json": json_,
    ".js": json_,
}
BY_OPTION: dict[str, Parser] = {
    "ini": ini,
    "yaml": yaml,
    "yml": yaml,
    "json": json_,
    "js": json_,
}
"""The options that name a file of one format."""
