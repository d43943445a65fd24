"""Passwords are not for eyes: of URLs, and of variables whose names say so."""

from __future__ import annotations

import re

_IN_URL = re.compile(r"(://[^\s/?#:@]*):[^\s/?#]*@")
_IN_QUERY = re.compile(
    r"([?&](?:password|passwd|pwd|token|secret|api_?key)=)[^&\s'\"]*", re.IGNORECASE
)
_SECRET = re.compile(r"(?:PASSWORD|PASSWD|PASS|SECRET|TOKEN|KEY)$", re.IGNORECASE)

STARS = "***"


def without_password(text: str) -> str:
    """A text with the passwords in its URLs replaced by stars."""
    return _IN_QUERY.sub(rf"\1{STARS}", _IN_URL.sub(rf"\1:{STARS}@", text))


def is_secret(name: str) -> bool:
    """Whether the value of a variable of this name is not to be shown."""
    return _SECRET.search(name) is not None


def shown(name: str, value: object) -> str:
    """The value of a variable, as it may be shown."""
    return STARS if is_secret(name) else without_password(str(value))
