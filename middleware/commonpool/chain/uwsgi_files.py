"""uWSGI's configuration, read as uWSGI reads it: includes, placeholders, conditions, environment.

uWSGI takes three steps, and so does this: all files are read, conditions being followed with the
environment as it is *then*; then ``$(VARIABLE)``, ``@(file)`` and ``%(placeholder)`` are filled in,
but not in what counted at once (``listen``, ``set-placeholder``); then the options are gone through
in turn, of which ``env`` sets variables and ``inherit`` brings more options, in which nothing is
filled in any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from commonpool.chain import uwsgi_magic
from commonpool.chain.model import Setting, Unreadable, Uwsgi
from commonpool.chain.text_files import NotReadError, is_file, read_bytes, read_text
from commonpool.chain.uwsgi_formats import BY_OPTION, Parser, ini, parser_of
from commonpool.chain.uwsgi_logic import ENDS, HERE, Logic, is_logic, number_of, turns
from commonpool.chain.uwsgi_options import (
    ALIASES,
    STRUCTURE,
    implied,
    is_flag,
    is_immediate,
    is_known,
    is_number,
    is_of_plugin,
)
from commonpool.chain.uwsgi_passes import expanded, placeholder, resolve

_NAMES = re.compile(r"%\(([^ )]+)")
_PLUGINS = frozenset({"plugin", "plugins", "need-plugin", "need-plugins"})
_MOST_NESTED = 20
_MOST_FILES = 500
_MOST_OPTIONS = 50_000
_KEPT = frozenset(  # variables with this prefix are uWSGI's own, and no options
    {
        *("UWSGI_RELOADS", "UWSGI_VASSALS_DIR", "UWSGI_EMPEROR_FD", "UWSGI_BROODLORD_NUM"),
        *("UWSGI_EMPEROR_FD_CONFIG", "UWSGI_EMPEROR_PROXY", "UWSGI_JAIL_PID"),
        "UWSGI_ORIGINAL_PROC_NAME",
    }
)


@dataclass
class Given:
    """One option, in the order in which uWSGI came by them.

    Attributes:
        key: its name as it stands there.
        value: as far as it is filled in.
        written: as it stands there.
        file: where it stands.
        line: there.
        settled: whether it counted at once, so that nothing is filled in any more.
        is_placeholder: whether it is one alone, whatever its name.
        inside: the files, with their sections, that led to it.
        stands_for: the options that it stands for, if the files have made it (``declare-option``).
    """

    key: str
    value: str
    written: str
    file: str
    line: int
    settled: bool = False
    is_placeholder: bool = False
    inside: tuple[str, ...] = ()
    stands_for: list[Given] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    file: str
    line: int
    inside: tuple[str, ...] = ()  # the files, with their sections, that led here


def read_uwsgi(
    path: str,
    environ: Mapping[str, Setting],
    *,
    version: tuple[int, ...] | None = None,
) -> tuple[Uwsgi, list[Unreadable]]:
    """Read uWSGI's configuration, as ``uwsgi --ini path`` (``--yaml``, ``--json``) would take it.

    Args:
        path: of a file, with ``:section`` behind it if it is not ``uwsgi``; its ending tells the
            format, ini where it tells none.
        environ: what is set where uWSGI is started.
        version: of uWSGI, where it is known.

    Returns:
        What was read, and what could not be, with the rest read nevertheless.
    """
    reading = Reading(environ, version)
    reading.start(path)
    return reading.result(path), reading.problems


class Reading:
    """One reading of one configuration.

    Args:
        environ: what is set where uWSGI is started.
        version: of uWSGI, where it is known.
    """

    def __init__(self, environ: Mapping[str, Setting], version: tuple[int, ...] | None) -> None:
        self.environ = dict(environ)
        self.version = version
        self.given: list[Given] = []
        self.problems: list[Unreadable] = []
        self._magic = uwsgi_magic.lasting(version)
        self._has_first = False
        self._files = 0
        self._last_file = ""
        self._logic: Logic | None = None
        self._running = False
        self._first: dict[str, Given] = {}
        self._custom: dict[str, str] = {}

    # What conditions ask for.

    def variable(self, name: str) -> str | None:
        """The environment variable, as it is by now."""
        found = self.environ.get(name)
        return None if found is None else str(found.value)

    def option(self, name: str) -> str | None:
        """The first option or placeholder of that name."""
        found = self._first.get(name)
        return None if found is None else found.value

    # The three steps.

    def start(self, path: str) -> None:
        """Read all of it."""
        environment = _Place("environment", 0)
        for name, setting in list(self.environ.items()):
            if name.startswith("UWSGI_") and name not in _KEPT:
                key = name.removeprefix("UWSGI_").lower().replace("_", "-")
                self._add(key, str(setting.value), environment)
        self._load(
            path, parser_of(path) or parser_of(path.rpartition(":")[0]) or ini, _Place(path, 0)
        )
        for symbol, find in (("$", self.variable), ("@", self._content), ("%", self._placeholder)):
            for given in self.given:
                if not given.settled:
                    self._fill_in(given, symbol, find)
        self._configure()

    def _fill_in(self, given: Given, symbol: str, find: object) -> None:
        assert callable(find)  # noqa: S101 - one of the three above

        def keep(text: str) -> None:
            given.value = text

        before = given.value
        try:
            given.value = resolve(given.value, symbol, find, keep)
        except ValueError as error:
            given.value = before
            self._problem(_Place(given.file, given.line), f"{given.key} {error}")
        except NotReadError as error:
            reason = error.unreadable
            self._problem(
                _Place(given.file, given.line),
                f"{given.key} needs {reason.file}, which {reason.message}",
            )

    def _placeholder(self, key: str) -> str | None:
        return placeholder(key, self.option)

    def _content(self, path: str) -> str | None:
        text = read_text(path, "uwsgi").partition("\0")[0]
        return text[:-1] if text.endswith(("\n", "\r")) else text

    def _configure(self) -> None:
        index = 0
        while index < len(self.given):
            given = self.given[index]
            index += 1
            if given.settled or given.is_placeholder:
                continue
            given.settled = True
            self._apply(given)
        for given in self.given:
            if given.key == "envdir":
                self._read_folder(given.value, _Place(given.file, given.line))

    def _apply(self, given: Given) -> None:
        """What counts for what is read besides."""
        if given.key in self._custom:
            for key, value in expanded(self._custom[given.key], given.value):
                one = replace(given, key=key, value=value)
                given.stands_for.append(one)
                if key not in self._custom:  # or there might be no end to it
                    self._apply(one)
        elif given.key == "env":
            self._set_variable(given)
        elif given.key == "unenv":
            self.environ.pop(given.value, None)
        elif given.key == "inherit":
            self._load(given.value, None, _Place(given.file, given.line, given.inside))
        elif given.key == "declare-option2":
            self._declare(given)

    def _declare(self, given: Given) -> None:
        name, equals, template = given.value.partition("=")
        if equals:
            self._custom[name] = template
        else:
            place = _Place(given.file, given.line)
            self._problem(place, f"{given.key} = {given.value}: must be name=template")

    def _set_variable(self, given: Given) -> None:
        name, equals, value = given.value.partition("=")
        if not equals:
            self.environ.pop(name, None)
            return
        written = given.written.partition("=")[2]
        self.environ[name] = Setting(
            value, given.file, given.line, written if written != value else ""
        )

    def _read_folder(self, path: str, place: _Place) -> None:
        try:
            entries = sorted(Path(path).iterdir())
        except (OSError, ValueError):
            self._problem(place, f"the folder {path} of variables cannot be read")
            return
        for entry in entries:
            if entry.name.startswith(".") or not is_file(entry):
                continue
            try:
                content = read_bytes(entry, "uwsgi").decode("utf-8", "backslashreplace")
            except NotReadError as error:
                self.problems.append(error.unreadable)
                continue
            if content:
                value = content.partition("\0")[0].rstrip("\r\n\t ")
                self.environ[entry.name] = Setting(value, str(entry), 1)
            else:
                self.environ.pop(entry.name, None)

    # The first step: each option as it comes.

    def _add(
        self,
        key: str,
        value: str,
        place: _Place,
        *,
        is_placeholder: bool = False,
        written: str = "",
    ) -> None:
        if not self._running:
            if key in ENDS:
                self._logic = None
            if self._logic is not None:
                self._run(self._logic, key, value, place)
                return
        if len(self.given) >= _MOST_OPTIONS:
            return
        given = Given(key, value, written or value, place.file, place.line, inside=place.inside)
        self.given.append(given)
        self._first.setdefault(key, given)
        if is_placeholder:
            given.settled = given.is_placeholder = True
            if is_known(key):
                self._problem(place, f"{key} cannot be a placeholder, since it is an option")
        elif key in self._custom:
            given.settled = True
            self._apply(given)
        elif is_immediate(key):
            self._at_once(given, place)
            given.settled = True

    def _run(self, logic: Logic, key: str, value: str, place: _Place) -> None:
        self._running = True
        try:
            for here in turns(logic, self):
                filled = value if here is None else value.replace(HERE, here)
                self._add(key, filled, place, written=value)
        finally:
            self._running = False

    def _at_once(self, given: Given, place: _Place) -> None:
        key, value = given.key, given.value
        if is_logic(key):
            if self._logic is not None:
                self._problem(
                    place, f"{key} stands within {self._logic.name}, which uWSGI does not allow"
                )
                return
            self._logic = Logic(key, value)
        elif key in BY_OPTION:
            self._load(value, BY_OPTION[key], place)
        elif key == "include":
            self._load(value, None, place)
        elif key in ("set", "set-placeholder", "set-ph"):
            name, equals, content = value.partition("=")
            if not equals:
                self._problem(place, f"{key} = {value}: must be name=value")
                return
            written = given.written.partition("=")[2]
            self._add(name, content, place, is_placeholder=key != "set", written=written)
        elif key == "early-envdir":
            self._read_folder(value, place)
        elif key == "declare-option":
            self._declare(given)

    def _load(self, given: str, parser: Parser | None, place: _Place) -> None:
        parser = parser or parser_of(given)  # `include` goes by the end, be that of a section
        path, colon, section = given.rpartition(":")
        if not colon:
            path, section = given, ""
        if colon and not path:
            path = self._last_file
        if not path:
            self._problem(place, "no file is named")
            return
        path = _found(path, place)
        named = f"{path}:{section or 'uwsgi'}"
        if not self._is_enough(path, named, place):
            inner = replace(place, inside=(*place.inside, named))
            self._read(path, section, parser, inner, has_section=bool(colon))

    def _is_enough(self, path: str, named: str, place: _Place) -> bool:
        """Whether so many files are read, or one within the other, that there is no end to it."""
        self._files += 1
        is_too_deep = named in place.inside or len(place.inside) >= _MOST_NESTED
        if named in place.inside:
            self._problem(place, f"{path} is included within itself: uWSGI would not end")
        elif is_too_deep:
            self._problem(place, f"{path} is not read: it is {_MOST_NESTED} includes deep")
        elif self._files == _MOST_FILES:
            self._problem(place, f"this is file {self._files}: no more are read")
        return is_too_deep or self._files >= _MOST_FILES

    def _read(
        self, path: str, section: str, parser: Parser | None, place: _Place, *, has_section: bool
    ) -> None:
        try:
            if parser is None or path.endswith(".xml"):
                message = "is of no format that can be read: .ini, .yaml, .yml, .json, .js"
                if section:
                    message = f"can be named with a section ({section}) by 'ini =' alone"
                raise NotReadError("uwsgi", path, 0, message)
            text = read_text(path, "uwsgi")
            self._fill_magic(
                f"{path}:{section}" if has_section else path, is_include=len(place.inside) > 1
            )
            self._last_file = path
            text = uwsgi_magic.fill(text, self._magic)
            for line in parser(text, section or "uwsgi", path):
                self._add(line.key, line.value, _Place(path, line.number, place.inside))
        except NotReadError as error:
            if place.line and not error.unreadable.line:
                self._problem(place, f"{path} {error}")
            else:
                self.problems.append(error.unreadable)

    def _fill_magic(self, given: str, *, is_include: bool) -> None:
        values = uwsgi_magic.of_file(given)
        self._magic.update(values)
        if not self._has_first and not is_include:
            self._has_first = True
            self._magic.update({name.upper(): values.get(name, "") for name in "odspcenxij"})

    def _problem(self, place: _Place, message: str) -> None:
        self.problems.append(Unreadable("uwsgi", place.file, place.line, message))

    # What comes of it.

    def _in_turn(self) -> Iterator[Given]:
        for given in self.given:
            if given.key in self._custom:
                yield from given.stands_for
            else:
                yield given

    def result(self, path: str) -> Uwsgi:
        """The options, with aliases under one name."""
        # Names of somebody's own are for %(name); with `strict` they have to be placeholders.
        named = set(_NAMES.findall("\n".join(given.written for given in self.given)))
        is_strict = any(one.key == "strict" and _setting(one).value for one in self.given)
        plugins = [given.value for given in self.given if given.key in _PLUGINS]
        explicit: dict[str, list[Setting]] = {}
        from_others: dict[str, list[Setting]] = {}
        unknown = []
        for given in self._in_turn():
            if given.is_placeholder or given.key in STRUCTURE:
                continue
            if not is_known(given.key):
                is_placed = given.key in named and not is_strict
                if not is_placed and not is_of_plugin(given.key, plugins):
                    unknown.append(Setting(given.key, given.file, given.line))
                continue
            name = ALIASES.get(given.key, given.key)
            explicit.setdefault(name, []).append(_setting(given))
            for flag in implied(given.key):
                because = Setting(True, given.file, given.line, f"{given.key} = {given.written}")  # noqa: FBT003
                from_others.setdefault(flag, []).append(because)
        options = {name: [*from_others.get(name, ()), *values] for name, values in explicit.items()}
        options.update({n: v for n, v in from_others.items() if n not in explicit})
        return Uwsgi(path, options, self.environ, self.version, unknown=unknown)


def _setting(given: Given) -> Setting:
    value: object = given.value
    if is_flag(given.key):
        value = given.value.lower() not in ("false", "off", "no") and given.value != "0"
    elif is_number(given.key):
        value = number_of(given.value) if given.value else 0
    elif not given.value:
        value = True
    same = str(value).lower() == given.written.lower()
    written = "" if same else given.written
    return Setting(value, given.file, given.line, written)


def _found(path: str, place: _Place) -> str:
    """Where a file is: from the working folder, as uWSGI has it, else beside what names it."""
    if place.line and not Path(path).is_absolute() and not is_file(path):
        beside = Path(place.file).parent / path
        if is_file(beside):
            return str(beside)
    return path
