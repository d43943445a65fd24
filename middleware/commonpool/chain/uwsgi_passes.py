"""References in the values of options: ``$(VARIABLE)``, ``@(file)`` and ``%(placeholder)``."""

from __future__ import annotations

from collections.abc import Callable

from commonpool.chain.uwsgi_logic import number_of

_MOST_ROUNDS = 1_000
_MOST_CHARACTERS = 4_000_000


def resolve(text: str, symbol: str, find: Callable[[str], str | None]) -> str:
    """The text with each ``symbol(name)`` replaced by what `find` has for the name.

    What is put in is looked at again, from its second character on, as uWSGI does. A name that is
    not found stays.

    Raises:
        ValueError: there is no end to it, since a value refers to itself.
    """
    if f"{symbol}(" not in text:
        return text
    rounds = 0
    found = _first(text, symbol, 0, find)
    while found is not None:
        begin, end, value = found
        text = text[:begin] + value + text[end:]
        rounds += 1
        if rounds > _MOST_ROUNDS or len(text) > _MOST_CHARACTERS:
            raise ValueError("refers to itself")
        found = _first(text, symbol, 1, find)
    return text


def _first(
    text: str, symbol: str, start: int, find: Callable[[str], str | None]
) -> tuple[int, int, str] | None:
    """The first reference that is known: where it begins and ends, and its value."""
    begin = text.find(f"{symbol}(", start)
    while begin >= 0:
        end = _closing(text, begin + 2)
        if end < 0:
            return None
        name = text[begin + 2 : end]
        value = find(name) if name else None
        if value is not None:
            return begin, end + 1, value
        begin = text.find(f"{symbol}(", end + 1)
    return None


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            if depth == 0:
                return index
            depth -= 1
    return -1


def placeholder(key: str, option: Callable[[str], str | None]) -> str | None:
    """What ``%(key)`` stands for: an option, or a sum such as ``%(processes * 2)``.

    Args:
        key: what stands in the brackets. With blanks in it, from left to right: numbers and names
            are joined, ``+ - * /`` count with the next, ``++`` and ``--`` with one.
        option: the value of the first option or placeholder of a name.
    """
    if " " not in key:
        return option(key)
    value: str | None = None
    operator = ""
    for word in key.split(" "):
        if not word:
            continue
        if word in ("++", "--"):
            if value is not None:
                value = str(number_of(value) + (1 if word == "++" else -1))
            operator = ""
        elif word in ("+", "-", "*", "/"):
            operator = word
        else:
            operand = word if word.isascii() and word.isdigit() else option(word) or ""
            value = _joined(value or "", operator, operand)
            operator = ""
    return value


def _joined(left: str, operator: str, right: str) -> str:
    if not operator:
        return left + right
    first, second = number_of(left), number_of(right)
    if operator == "+":
        return str(first + second)
    if operator == "-":
        return str(first - second)
    if operator == "*":
        return str(first * second)
    if second == 0:
        return "0"
    quotient = abs(first) // abs(second)  # C rounds towards zero
    return str(quotient if (first < 0) == (second < 0) else -quotient)
