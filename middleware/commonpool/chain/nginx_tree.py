"""nginx's directives as a tree, with what is included in its place."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crossplane

from commonpool.chain import nginx_templates
from commonpool.chain.model import Unreadable
from commonpool.chain.text_files import NotReadError, is_file, is_folder, read_text

_MOST_CHARACTERS = 4_000_000
_MOST_NESTED = 20
_MOST_FILES = 2_000


@dataclass(frozen=True)
class Directive:
    """One directive.

    Attributes:
        name: of it.
        arguments: without quotes.
        file: where it stands; of what is filled in, the template.
        line: there.
        block: what stands between its braces; `None` where it has none.
    """

    name: str
    arguments: tuple[str, ...]
    file: str
    line: int
    block: Sequence[Directive] | None = None


class Tree:
    """Reads a configuration and what it includes.

    Args:
        file: of it; paths are relative to its folder.
        values: of variables in templates, beside those that scripts there have defaults for.
    """

    def __init__(self, file: str, values: Mapping[str, str]) -> None:
        self.problems: list[Unreadable] = []
        self._folder = Path(file).parent
        self._scripts = nginx_templates.scripts(self._folder)
        self._values = {**nginx_templates.defaults(self._scripts), **values}
        self._files = 0
        self.directives = self._read(file, ())

    def _read(self, file: str, inside: tuple[str, ...]) -> list[Directive]:
        try:
            text = read_text(file, "nginx")
            if len(text) > _MOST_CHARACTERS:
                raise NotReadError("nginx", file, 0, f"is too large: {len(text)} characters")
            if text.startswith("\ufeff"):
                raise NotReadError(
                    "nginx", file, 1, "begins with a byte order mark, which nginx does not take"
                )
            if not text.strip() and not inside:
                raise NotReadError("nginx", file, 0, "is empty")
            if "\0" in text:
                raise NotReadError("nginx", file, 0, "is no text: it has null bytes")
            if file.endswith(".template"):
                return self._read_filled(file, text, inside)
            return self._parse(file, file, inside)
        except NotReadError as error:
            self.problems.append(error.unreadable)
            return []

    def _read_filled(self, file: str, text: str, inside: tuple[str, ...]) -> list[Directive]:
        filled, missing = nginx_templates.fill(text, self._values)
        if missing:
            names = ", ".join(f"${{{name}}}" for name in dict.fromkeys(missing))
            self.problems.append(
                Unreadable(
                    "nginx",
                    file,
                    0,
                    f"is filled in where nginx runs; here {names} has no value: set it in the "
                    "environment",
                )
            )
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".conf") as copy:
            copy.write(filled)
            copy.flush()
            return self._parse(copy.name, file, inside)

    def _parse(self, path: str, file: str, inside: tuple[str, ...]) -> list[Directive]:
        self._files += 1
        if self._files > _MOST_FILES:
            raise NotReadError("nginx", file, 0, f"is not read: more than {_MOST_FILES} files")
        try:
            payload = crossplane.parse(path, single=True, check_ctx=False, check_args=False)
        except StopIteration:
            raise NotReadError("nginx", file, 0, "ends in the middle of a directive") from None
        except RecursionError:
            raise NotReadError("nginx", file, 0, "has blocks nested too deeply") from None
        except Exception as error:
            raise NotReadError("nginx", file, 0, f"cannot be parsed: {error}") from None
        for found in payload["errors"]:
            words = str(found["error"]).replace(f" in {path}:{found['line']}", "")
            if not words:
                words = "ends in the middle of a directive"
            elif "recursion" in words:
                words = "has blocks nested too deeply"
            self.problems.append(Unreadable("nginx", file, found["line"] or 0, words))
        return self._placed(payload["config"][0]["parsed"], file, (*inside, file))

    def _placed(
        self, parsed: list[dict[str, Any]], file: str, inside: tuple[str, ...]
    ) -> list[Directive]:
        found: list[Directive] = []
        for one in parsed:
            if one["directive"] == "include" and one["args"]:
                found += self._included(one["args"][0], file, one["line"], inside)
                continue
            block = one.get("block")
            inner = None if block is None else self._placed(block, file, inside)
            found.append(Directive(one["directive"], tuple(one["args"]), file, one["line"], inner))
        return found

    def _included(
        self, pattern: str, file: str, line: int, inside: tuple[str, ...]
    ) -> list[Directive]:
        path = self._folder / pattern
        found: list[Directive] = []
        for name in self._files_of(path, file, line):
            if name in inside or len(inside) > _MOST_NESTED:
                self.problems.append(
                    Unreadable("nginx", file, line, f"{pattern} is included within itself")
                )
                continue
            found += self._read(name, inside)
        return found

    def _files_of(self, path: Path, file: str, line: int) -> list[str]:
        if glob.has_magic(str(path)):
            names = {name: name for name in glob.glob(str(path))}  # noqa: PTH207 - absolute, too
            for filled, template in nginx_templates.templates_for(path, self._folder):
                names.setdefault(str(filled), str(template))
            return [names[name] for name in sorted(names)]
        if is_file(path):
            return [str(path)]
        source = nginx_templates.template_of(path, self._folder)
        if source is not None:
            return [str(source)]
        if is_folder(path):
            return [str(path)]  # the reading says so
        if any(path.name in script for script in self._scripts):
            return []  # written when nginx is started, by a script that is part of all this
        message = f"includes {path}, which is not there: what it says is not known"
        self.problems.append(Unreadable("nginx", file, line, message))
        return []
