"""The recommended sizes as a change of the user's files: a unified diff, and the change itself."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from commonpool.chain.measured import Sizes
from commonpool.chain.model import Setting, Uwsgi
from commonpool.chain.uwsgi_files import read_uwsgi
from commonpool.tune.configuration import DEFAULT_WORKERS, WORKERS
from commonpool.tune.errors import TuneError

_PLACEHOLDER = re.compile(r"%\(([^()%]+)\)")
_COPY = ".before-tune"
_INI = {".ini", ""}


@dataclass
class Change:
    """What is to be changed.

    Attributes:
        files: each with what it holds, and what it is to hold.
        notes: what cannot be written into a file, or is to be known of it; in sentences.
    """

    files: dict[Path, tuple[bytes, bytes]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def diff(self) -> str:
        """The change as a unified diff; empty where there is none."""
        parts: list[str] = []
        for path, (before, after) in self.files.items():
            parts += difflib.unified_diff(_lines(before), _lines(after), f"{path}", f"{path}", n=2)
        return "".join(
            part if part.endswith("\n") else f"{part}\n\\ No newline at end of file\n"
            for part in parts
        )

    def apply(self) -> list[Path]:
        """Write the files, and keep what they held beside them.

        Returns:
            The copies, ``NAME.before-tune``, or with a number where there is one already.

        Raises:
            TuneError: a file has changed since it was read, is read-only, or cannot be written.
        """
        for path, (before, _) in self.files.items():
            if _read(path) != before:
                raise TuneError(f"{path} has changed meanwhile, so nothing was written")
            if not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):
                raise TuneError(f"{path} is read-only, so nothing was written")
        copies = []
        for path, (before, after) in self.files.items():
            copies.append(_keep(path, before))
            _replace(path, after)
        return copies

    def undo(self) -> None:
        """Put back what was there."""
        for path, (before, _) in self.files.items():
            _replace(path, before)


def read(ini: Path, environ: Mapping[str, str]) -> Uwsgi:
    """The file of uWSGI, with the line of each option.

    Raises:
        TuneError: it cannot be read.
    """
    outside = {name: Setting(value, "environment") for name, value in environ.items()}
    found, problems = read_uwsgi(str(ini), outside)
    for problem in problems:
        if not found.options:
            raise TuneError(f"{problem.file}: {problem.message}")
    return found


def placeholders(found: Uwsgi) -> dict[str, str]:
    """The names that stand for ``processes`` and ``threads``, where they are ``%(name)``."""
    names = {}
    for option in ("processes", "threads"):
        setting = found.get(option)
        match = _PLACEHOLDER.fullmatch(setting.written) if setting else None
        if match and _defining(found, match[1]) is not None:
            names[option] = match[1]
    return names


def change(
    ini: Path, sizes: Sizes, environ: Mapping[str, str], pool_variable: str | None
) -> Change:
    """What to change, so that uWSGI starts with these sizes.

    Args:
        ini: the user's file; what it includes is changed where the option stands there.
        sizes: to be set.
        environ: in which uWSGI is started.
        pool_variable: that holds the size of the connection pool.

    Raises:
        TuneError: a file cannot be read.
    """
    found = read(ini, environ)
    editing = _Editing(ini, found, environ)
    editing.variable(WORKERS, sizes.max_workers)
    if pool_variable and sizes.connections is not None:
        editing.variable(pool_variable, sizes.connections)
    editing.option("processes", sizes.processes)
    editing.option("threads", sizes.threads)
    return editing.result()


class _Editing:
    def __init__(self, ini: Path, found: Uwsgi, environ: Mapping[str, str]) -> None:
        self._ini = ini
        self._found = found
        self._environ = environ
        self._before: dict[Path, bytes] = {}
        self._after: dict[Path, list[bytes]] = {}
        self._added: list[str] = []
        self.notes: list[str] = []

    def option(self, name: str, number: int) -> None:
        setting = self._found.get(name)
        if setting is None:
            if number != 1:
                self._added.append(f"{name} = {number}")
            return
        if str(setting.value) == str(number):
            return
        match = _PLACEHOLDER.fullmatch(setting.written)
        if match:
            defining = _defining(self._found, match[1])
            if defining is not None:
                text = defining.written or str(defining.value)
                self._edit(defining, text, f"{match[1]}={number}", f"{name} = {number}")
                return
        self._edit(
            setting, setting.written or str(setting.value), str(number), f"{name} = {number}"
        )

    def variable(self, name: str, number: int) -> None:
        setting = next(
            (
                one
                for one in reversed(self._found.options.get("env", ()))
                if str(one.value).partition("=")[0] == name
            ),
            None,
        )
        if setting is None:
            if self._environ.get(name) not in {None, str(number)}:
                self.notes.append(
                    f"The environment in which uWSGI is started sets {name}="
                    f"{self._environ[name]}: set it to {number} there."
                )
            elif name not in self._environ and (name, number) != (WORKERS, DEFAULT_WORKERS):
                self._added.append(f"env = {name}={number}")
            return
        if str(setting.value) == f"{name}={number}":
            return
        text = setting.written or str(setting.value)
        self._edit(setting, text, f"{name}={number}", f"env = {name}={number}")

    def result(self) -> Change:
        if self._added:
            self._add()
        files = {
            path: (self._before[path], b"".join(lines))
            for path, lines in self._after.items()
            if b"".join(lines) != self._before[path]
        }
        for path in files:
            if path != self._ini:
                self.notes.append(f"A setting stands in {path}, which {self._ini} includes.")
        return Change(files, self.notes)

    def _edit(self, setting: Setting, old: str, new: str, wanted: str) -> None:
        path = Path(setting.file)
        if setting.line < 1 or not path.is_file():
            self.notes.append(f"{wanted}: it comes from {setting.file}, so set it there.")
            return
        lines = self._lines(path)
        line = lines[setting.line - 1] if setting.line <= len(lines) else b""
        head, sign, tail = _parted(line)
        where = tail.find(old.encode())
        if not sign or where < 0:
            self.notes.append(f"{path}:{setting.line}: write {wanted} there by hand.")
            return
        changed = tail[:where] + new.encode() + tail[where + len(old.encode()) :]
        lines[setting.line - 1] = head + sign + changed

    def _add(self) -> None:
        if self._ini.suffix not in _INI:
            self.notes.append(
                f"Add to {self._ini}, as its format has it: {'; '.join(self._added)}."
            )
            return
        lines = self._lines(self._ini)
        header = next(
            (number for number, line in enumerate(lines) if line.strip() == b"[uwsgi]"), None
        )
        if header is None:
            self.notes.append(f"Add to {self._ini}: {'; '.join(self._added)}.")
            return
        end = b"\r\n" if lines[header].endswith(b"\r\n") else b"\n"
        if not lines[header].endswith(b"\n"):
            lines[header] += end
        lines[header + 1 : header + 1] = [line.encode() + end for line in self._added]

    def _lines(self, path: Path) -> list[bytes]:
        if path not in self._before:
            self._before[path] = _read(path)
            self._after[path] = re.findall(rb"[^\n]*\n|[^\n]+$", self._before[path])
        return self._after[path]


def _defining(found: Uwsgi, name: str) -> Setting | None:
    """Where a placeholder gets its value: the first place counts."""
    for setting in found.options.get("set-placeholder", ()):
        if str(setting.value).partition("=")[0] == name:
            return setting
    return None


def _parted(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = re.match(rb"""([^=:]*)([=:])(.*)""", line, re.DOTALL)
    return (match[1], match[2], match[3]) if match else (line, b"", b"")


def _lines(content: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+$", content.decode("utf-8", "surrogateescape"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TuneError(f"{path} cannot be read: {error.strerror}") from None


def _keep(path: Path, content: bytes) -> Path:
    number = 1
    while True:
        copy = path.with_name(f"{path.name}{_COPY}{'' if number == 1 else f'.{number}'}")
        try:
            with copy.open("xb") as file:
                file.write(content)
            with suppress(OSError):
                shutil.copymode(path, copy)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise TuneError(f"{copy} cannot be written: {error.strerror}") from None
        return copy


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole: whoever reads it meanwhile reads the old one or the new one."""
    target = path.resolve()
    try:
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with open(number, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(content)
            status = target.stat()
            os.chmod(name, status.st_mode & 0o7777)  # noqa: PTH101
            with suppress(OSError):
                os.chown(name, status.st_uid, status.st_gid)
            os.replace(name, target)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise
    except OSError as error:
        raise TuneError(f"{path} cannot be written: {error.strerror}") from None
