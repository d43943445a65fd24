"""Parts of nginx's configuration that are filled in only where it runs.

As the official image does it: each ``templates/NAME.template`` beside the configuration becomes the
file NAME that it includes, with ``${VARIABLE}`` replaced by the environment.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from commonpool.chain.text_files import NotReadError, is_file, is_folder, read_text

_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_DEFAULT = re.compile(r"\b([A-Z][A-Z0-9_]*)=(?:\$\{\1:?-([^{}]*)\}|'([^'$]*)')")
_FOLDERS = ("templates", "tls")
_MOST_FILES = 500


def template_of(path: Path, folder: Path) -> Path | None:
    """The template that becomes the file `path`, of a configuration in `folder`; `None` without."""
    for name in _FOLDERS:
        template = folder / name / f"{path.name}.template"
        if is_file(template):
            return template
    return None


def templates_for(pattern: Path, folder: Path) -> list[tuple[Path, Path]]:
    """For a pattern of files that does not match any yet: what would match, and its template.

    What lies in ``tls`` is used with TLS alone.
    """
    found = []
    for template in sorted((folder / _FOLDERS[0]).glob("*.template")):
        path = pattern.parent / template.stem
        if path.match(str(pattern)):
            found.append((path, template))
    return found


def fill(text: str, values: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with ``${VARIABLE}`` replaced, and the names that have no value."""
    missing = [name for name in _REFERENCE.findall(text) if name not in values]
    return _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text), missing


def scripts(folder: Path) -> list[str]:
    """The scripts beside templates, such as the one that a container starts nginx with."""
    found: list[str] = []
    if not is_folder(folder / _FOLDERS[0]):
        return found
    for path in sorted(islice(folder.glob("*/*"), _MOST_FILES)):
        if path.suffix in ("", ".sh", ".envsh") and is_file(path):
            with contextlib.suppress(NotReadError):
                text = read_text(path, "nginx")
                if text.startswith("#!"):
                    found.append(text)
    return found


def defaults(texts: Iterable[str]) -> dict[str, str]:
    """What scripts give variables that are not set (``${NAME:-value}``)."""
    values: dict[str, str] = {}
    for text in texts:
        for name, given, quoted in _DEFAULT.findall(text):
            values.setdefault(name, given or quoted)
        for name in re.findall(r"^([A-Z][A-Z0-9_]*)=$", text, re.MULTILINE):
            values.setdefault(name, "")
    return values
