"""What is never to be seen: passwords; and what would confuse a terminal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

HIDDEN = "***"

_NAMES = re.compile(r"(?i)(pass|password|passwd|passphrase|secret|token|key)$")
_IN_URL = re.compile(r"(://[^\s:/@'\"]*):[^\s'\"]*@")
_NAMED = re.compile(r"(?i)\b(\w*(?:password|passwd|secret|token|key))(\s*[=:]\s*)[^\s,;'\"]+")
_LEAST = 4  # characters: less would hide what is no secret

T = TypeVar("T")


class Secrets:
    """Hides what must not be printed.

    Args:
        variables: names and values. Values of names that end in PASSWORD, PASS, SECRET, TOKEN or
            KEY are secrets, and so are passwords in URLs.
        urls: more of these.
    """

    def __init__(
        self, variables: Iterable[tuple[str, str]], urls: Iterable[str | None] = ()
    ) -> None:
        variables = list(variables)
        found = {value for name, value in variables if _NAMES.search(name)}
        for url in (*urls, *(value for _, value in variables)):
            found |= _passwords(url or "")
        self._known = sorted((one for one in found if len(one) >= _LEAST), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """A text without secrets and without control characters, but for the ends of lines."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
        text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
        return "".join(
            one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
            for one in text
        )

    def hidden(self, thing: T) -> T:
        """A dataclass with all its texts so."""
        changed = {
            field.name: self.hide(value)
            for field in dataclasses.fields(thing)  # type: ignore[arg-type]
            if isinstance(value := getattr(thing, field.name), str)
        }
        return dataclasses.replace(thing, **changed)  # type: ignore[type-var]


def _passwords(url: str) -> set[str]:
    if "://" not in url:
        return set()
    try:
        password = urlsplit(url).password
    except ValueError:
        return set()
    return {password, unquote(password)} if password else set()
