"""Variables in compose files, and the files that set some (``.env``, ``env_file``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.DOTALL)
_MOST_NESTED = 20


class RequiredError(ValueError):
    """A variable has to be set and is not: ``${NAME:?why}``."""


def interpolate(text: str, values: Mapping[str, str], depth: int = 0) -> str:
    """The text with ``$NAME`` and ``${NAME}`` filled in, as Compose does.

    ``:-`` and ``-`` give a default, ``:+`` and ``+`` what takes the place of a value, ``:?`` and
    ``?`` ask for one; with the colon an empty value counts as none. ``$$`` is a dollar.

    Raises:
        RequiredError: a variable is asked for that is not set.
    """
    parts: list[str] = []
    index = 0
    while (begin := text.find("$", index)) >= 0:
        parts.append(text[index:begin])
        following = text[begin + 1 : begin + 2]
        if following == "$":
            parts.append("$")
            index = begin + 2
        elif following == "{" and depth < _MOST_NESTED:
            end = _closing(text, begin + 2)
            parts.append(_braced(text[begin + 2 : end], values, depth))
            index = end + 1
        else:
            match = _NAME.match(text, begin + 1)
            parts.append("$" if match is None else values.get(match[0], ""))
            index = begin + 1 if match is None else match.end()
    parts.append(text[index:])
    return "".join(parts)


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            if depth == 0:
                return index
            depth -= 1
    return len(text)


def _braced(inner: str, values: Mapping[str, str], depth: int) -> str:
    match = _NAME.match(inner)
    if match is None:
        return ""
    name, rest = match[0], inner[match.end() :]
    operator, word = (rest[:2], rest[2:]) if rest.startswith(":") else (rest[:1], rest[1:])
    value = values.get(name)
    is_there = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("-"):
        return (value or "") if is_there else interpolate(word, values, depth + 1)
    if operator.endswith("+"):
        return interpolate(word, values, depth + 1) if is_there else ""
    if operator.endswith("?") and not is_there:
        raise RequiredError(f"{name} has to be set: {word}" if word else f"{name} has to be set")
    return value or ""


def variables_in(text: str, values: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """What a file of lines ``NAME=value`` sets: name, value, number of the line.

    Args:
        text: of the file. ``#`` begins a comment, quotes are taken off, and in all but single
            quotes variables are filled in.
        values: of variables that are set already.
    """
    known = dict(values)
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        match = _LINE.match(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        name, raw = match[1], match[2].strip()
        if raw[:1] in ("'", '"') and raw.find(raw[0], 1) > 0:
            content = raw[1 : raw.find(raw[0], 1)]
            value = content if raw[0] == "'" else _filled(content, known)
        else:
            value = _filled(re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].strip(), known)
        known.setdefault(name, value)
        found.append((name, value, number))
    return found


def _filled(text: str, values: Mapping[str, str]) -> str:
    try:
        return interpolate(text, values)
    except RequiredError:
        return ""
