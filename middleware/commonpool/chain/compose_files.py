"""Compose files: the services that are links of the chain, and what they are given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commonpool.chain.database_commands import DATABASES, number_or_text, of_image, option
from commonpool.chain.dockerfiles import variables
from commonpool.chain.interpolation import RequiredError, interpolate, variables_in
from commonpool.chain.model import Compose, Setting, Unreadable
from commonpool.chain.placed_yaml import Placed, read_yaml
from commonpool.chain.text_files import NotReadError, read_text
from commonpool.chain.units import bytes_of, seconds

_NAMES = frozenset(
    {"app", "web", "application", "backend", "api", "wsgi", "uwsgi", "flask", "django", "server"}
)
_SERVES = re.compile(r"uwsgi|stack(?:\.container)?\.serving|-m stack serve", re.IGNORECASE)
_MOST_NESTED = 5
_GRACE = 10.0
"""Seconds that Docker gives a container to end, where nothing is said."""


@dataclass(frozen=True)
class Services:
    """What a compose file says.

    Attributes:
        compose: of the application's service.
        database: variables of the database's command, such as ``max_connections``; its ``dialect``
            and ``version`` as its image has them.
        nginx: the environment of nginx's service.
    """

    compose: Compose
    database: Mapping[str, Setting] = field(default_factory=dict)
    nginx: Mapping[str, Setting] = field(default_factory=dict)


def read_compose(file: str, environ: Mapping[str, str]) -> tuple[Services | None, list[Unreadable]]:
    """What a compose file says of the application, its database and nginx.

    Args:
        file: of it; ``.env`` beside it counts, too.
        environ: of whoever would start it; counts before ``.env``.

    Returns:
        What was read, `None` if there is nothing to be read, and what could not be.
    """
    reading = _Reading(file, environ)
    try:
        return reading.services(), reading.problems
    except NotReadError as error:
        return None, [*reading.problems, error.unreadable]


class _Reading:
    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._folder = Path(file).parent
        self.problems: list[Unreadable] = []
        self._values = {**self._dotenv(environ), **environ}

    def _dotenv(self, environ: Mapping[str, str]) -> dict[str, str]:
        path = self._folder / ".env"
        if not path.exists():
            return {}
        try:
            text = read_text(path, "compose")
        except NotReadError as error:
            self.problems.append(error.unreadable)
            return {}
        return {name: value for name, value, _ in variables_in(text, environ)}

    def services(self) -> Services:
        """The services by their roles."""
        tree = read_yaml(self._file, "compose")
        found = tree.get("services")
        services = {} if found is None else dict(found.items())
        services = {name: one for name, one in services.items() if isinstance(one.value, dict)}
        if not services:
            raise NotReadError("compose", self._file, 0, "has no services")
        services = {name: self._extended(one, services, 0) for name, one in services.items()}
        roles = {}
        application = self._application(services)
        if application is None:
            message = (
                "has no service that runs uWSGI, by its command, its image, its build, "
                "COMMONPOOL_* in its environment, or its name (app, web)"
            )
            raise NotReadError("service", self._file, 0, message)
        roles["application"] = application
        database = self._of_image(services, DATABASES)
        if database is not None:
            roles["database"] = database
        nginx = self._of_image(services, re.compile(r"nginx"))
        if nginx is not None and nginx != application:
            roles["nginx"] = nginx
        return Services(
            self._compose(services[application], roles),
            {} if database is None else self._variables(services[database]),
            self._environ(services[roles["nginx"]]) if "nginx" in roles else {},
        )

    def _extended(self, one: Placed, services: Mapping[str, Placed], depth: int) -> Placed:
        base = one.get("extends")
        if base is None or depth > _MOST_NESTED:
            return one
        name = base.value if isinstance(base.value, str) else None
        others = services
        given = base.get("service")
        if given is not None:
            name = given.text
        file = base.get("file")
        if file is not None:
            try:
                tree = read_yaml(str(self._folder / self._text(file)), "compose")
            except NotReadError as error:
                self.problems.append(error.unreadable)
                return one
            inner = tree.get("services")
            others = {} if inner is None else dict(inner.items())
        other = others.get(name or "")
        if other is None:
            self._problem(base.line, f"extends a service {name!r} that is not there")
            return one
        return _merged(self._extended(other, others, depth + 1), one)

    # Which is which.

    def _application(self, services: Mapping[str, Placed]) -> str | None:
        scores = {name: self._score(name, one) for name, one in services.items()}
        best = max(scores, key=lambda name: scores[name])
        return best if scores[best] > 0 else None

    def _score(self, name: str, one: Placed) -> int:
        command = " ".join([*self._words(one, "entrypoint"), *self._words(one, "command")])
        command = command.strip()
        image = self._image(one)
        if DATABASES.search(image) or "nginx" in f"{image} {self._dockerfile_name(one)}":
            return 0
        score = 1 if name in _NAMES else 0
        if _SERVES.search(command):
            score += 5
        elif command:
            score -= 4
        score += 4 if _SERVES.search(self._dockerfile(one)) else 0
        score += 2 if "uwsgi" in image else 0
        score += 2 if any(key.startswith("COMMONPOOL_") for key in self._environ(one)) else 0
        score -= 3 if one.get("profiles") is not None else 0
        return score

    def _of_image(self, services: Mapping[str, Placed], pattern: re.Pattern[str]) -> str | None:
        for name, one in services.items():
            if pattern.search(f"{self._image(one)} {self._dockerfile_name(one)}"):
                return name
        return None

    def _image(self, one: Placed) -> str:
        image = one.get("image")
        return "" if image is None else self._quietly(image)

    def _dockerfile_name(self, one: Placed) -> str:
        build = one.get("build")
        if build is None:
            return ""
        if isinstance(build.value, str):
            return f"{self._quietly(build)}/Dockerfile"
        context, name = build.get("context"), build.get("dockerfile")
        folder = "." if context is None else self._quietly(context)
        return f"{folder}/{'Dockerfile' if name is None else self._quietly(name)}"

    def _dockerfile(self, one: Placed) -> str:
        name = self._dockerfile_name(one)
        if not name:
            return ""
        try:
            return read_text(self._folder / name, "compose")
        except NotReadError:
            return ""

    # What they are given.

    def _compose(self, one: Placed, roles: Mapping[str, str]) -> Compose:
        replicas = Setting(1, "default")
        found = one.get("deploy", "replicas") or one.get("scale")
        if found is not None:
            number = self._number(found)
            replicas = replicas if number is None else number
        memory = one.get("deploy", "resources", "limits", "memory") or one.get("mem_limit")
        grace = one.get("stop_grace_period")
        limits = {}
        for name, places in {
            "pids": (("deploy", "resources", "limits", "pids"), ("pids_limit",)),
            "cpus": (("deploy", "resources", "limits", "cpus"), ("cpus",)),
            "nofile": (("ulimits", "nofile", "soft"), ("ulimits", "nofile")),
            "nproc": (("ulimits", "nproc", "soft"), ("ulimits", "nproc")),
        }.items():
            given = next((got for place in places if (got := one.get(*place))), None)
            if given is not None and not isinstance(given.value, dict):
                number = self._number(given)
                if number is not None and number.value > 0:  # -1 is for none
                    limits[name] = number
        queue = self._kernel_setting(one, "net.core.somaxconn")
        if queue is not None:
            limits["somaxconn"] = queue
        stop = None if grace is None else self._unit(grace, seconds)
        return Compose(
            file=self._file,
            replicas=replicas,
            memory=None if memory is None else self._unit(memory, bytes_of),
            stop_grace_period=stop or Setting(_GRACE, "default"),
            environ=self._environ(one),
            services=dict(roles),
            limits=limits,
            is_listed=isinstance(getattr(one.get("environment"), "value", None), list),
        )

    def _kernel_setting(self, one: Placed, name: str) -> Setting | None:
        """A number of ``sysctls``, which is a mapping or a list."""
        given = one.get("sysctls", name)
        if given is not None:
            return self._number(given)
        listed = one.get("sysctls")
        for placed in () if listed is None else listed.entries():
            key, _, number = str(self._setting(placed).value).partition("=")
            if key.strip() == name and number.strip().isdigit():
                return Setting(int(number), self._file, placed.line)
        return None

    def _environ(self, one: Placed) -> dict[str, Setting]:
        environ = self._image_environ(one)
        for path, line, is_required in self._environment_files(one):
            try:
                text = read_text(path, "compose")
            except NotReadError as error:
                if is_required:
                    self._problem(line, f"{path} {error}")
                continue
            for name, value, number in variables_in(text, self._values):
                environ[name] = Setting(value, str(path), number)
        given = one.get("environment")
        if given is None:
            return environ
        for name, placed in given.items():
            environ[name] = self._setting(placed)
        for placed in given.entries():
            name, equals, _ = placed.text.partition("=")
            if equals:
                whole = self._setting(placed)
                value = str(whole.value).partition("=")[2]
                environ[name] = Setting(
                    value, whole.file, whole.line, whole.written.partition("=")[2]
                )
            elif name in self._values:
                environ[name] = Setting(self._values[name], "environment")
        return {
            name: setting
            if setting.value is not None or name not in self._values
            else Setting(self._values[name], "environment")
            for name, setting in environ.items()
            if setting.value is not None or name in self._values
        }

    def _image_environ(self, one: Placed) -> dict[str, Setting]:
        """What ``ENV`` sets in the image that is built."""
        path = str(self._folder / self._dockerfile_name(one))
        return {
            name: Setting(value, path, number)
            for name, value, number in variables(self._dockerfile(one))
        }

    def _environment_files(self, one: Placed) -> Iterator[tuple[Path, int, bool]]:
        given = one.get("env_file")
        if given is None:
            return
        entries = list(given.entries()) or [given]
        for entry in entries:
            path, required = entry.get("path"), entry.get("required")
            is_required = required is None or bool(required.value)
            name = self._text(entry if path is None else path)
            if name:
                yield self._folder / name, entry.line, is_required

    def _variables(self, one: Placed) -> dict[str, Setting]:
        """What the command of a database sets."""
        image = self._image(one)
        placed = one.get("image")
        line = 0 if placed is None else placed.line
        found: dict[str, Setting] = {}
        for name, value in of_image(image).items():
            found[name] = Setting(value, self._file, line, "" if value == image else image)
        words = list(self._placed_words(one, "command"))
        for index, (word, number) in enumerate(words):
            following = words[index + 1][0] if index + 1 < len(words) else ""
            name, value = option(word, following)
            if name:
                found[name] = Setting(number_or_text(value), self._file, number)
        return found

    def _words(self, one: Placed, name: str) -> list[str]:
        return [word for word, _ in self._placed_words(one, name)]

    def _placed_words(self, one: Placed, name: str) -> Iterator[tuple[str, int]]:
        given = one.get(name)
        if given is None:
            return
        if isinstance(given.value, list):
            for entry in given.entries():
                yield self._quietly(entry), entry.line
            return
        text = self._quietly(given)
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
        for word in words:
            yield word, given.line

    # Values.

    def _setting(self, placed: Placed) -> Setting:
        if placed.value is None or isinstance(placed.value, dict | list):
            return Setting(None, self._file, placed.line)
        value = self._text(placed)
        written = "" if placed.text == value else placed.text
        return Setting(value, self._file, placed.line, written)

    def _number(self, placed: Placed) -> Setting | None:
        setting = self._setting(placed)
        try:
            number = float(str(setting.value))
        except ValueError:
            self._problem(placed.line, f"{setting.value!r} is no number")
            return None
        value = int(number) if number == int(number) else number
        return Setting(value, self._file, placed.line, setting.written)

    def _unit(self, placed: Placed, convert: object) -> Setting | None:
        setting = self._setting(placed)
        assert callable(convert)  # noqa: S101 - one of two functions
        try:
            value = convert(str(setting.value))
        except ValueError as error:
            self._problem(placed.line, str(error))
            return None
        return Setting(value, self._file, placed.line, setting.written or str(setting.value))

    def _text(self, placed: Placed) -> str:
        """A value with variables filled in; that one is missing is told."""
        try:
            return self._filled(placed)
        except RequiredError as error:
            self._problem(placed.line, str(error))
            return ""

    def _quietly(self, placed: Placed) -> str:
        try:
            return self._filled(placed)
        except RequiredError:
            return placed.text

    def _filled(self, placed: Placed) -> str:
        return interpolate(placed.text, self._values)

    def _problem(self, line: int, message: str) -> None:
        problem = Unreadable("compose", self._file, line, message)
        if problem not in self.problems:
            self.problems.append(problem)


def _merged(base: Placed, over: Placed, depth: int = 0) -> Placed:
    """What `over` says, and what `base` says of the rest."""
    are_both = isinstance(base.value, dict) and isinstance(over.value, dict)
    if not are_both or depth > _MOST_NESTED:
        return over
    found = dict(base.value)
    for name, placed in over.value.items():
        found[name] = _merged(found[name], placed, depth + 1) if name in found else placed
    return Placed(found, over.line)
