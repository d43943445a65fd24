"""What the image and the command of a database in a container tell of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

DATABASES = re.compile(r"\b(mariadb|mysql|percona|postgres(?:ql)?|postgis|timescaledb)\b")
"""The databases, as they stand in the names of images."""


def of_image(image: str) -> Mapping[str, str]:
    """``dialect`` and ``version`` of an image such as ``mariadb:11.8``, as far as it tells them."""
    found = {}
    match = DATABASES.search(image)
    if match is not None:
        found["dialect"] = _dialect(match[1])
    version = re.search(r":([0-9][0-9.]*)", image)
    if version is not None:
        found["version"] = version[1]
    return found


def _dialect(image: str) -> str:
    if image.startswith(("post", "timescale")):
        return "postgresql"
    return "mariadb" if image == "mariadb" else "mysql"


def option(word: str, following: str) -> tuple[str, str]:
    """Name and value of an option of a database's command: ``--max-connections=300``.

    Args:
        word: of the command.
        following: the word after it.

    Returns:
        Two empty texts, if it is none; a dash in the name is an underscore.
    """
    if word == "-c":  # PostgreSQL
        name, _, value = following.partition("=")
    elif word.startswith("-c") and "=" in word:
        name, _, value = word[2:].partition("=")
    elif word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = "" if following.startswith("-") else following
    else:
        return "", ""
    return name.strip().replace("-", "_"), value.strip()


def number_or_text(text: str) -> object:
    """The number that a text is, or the text."""
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
