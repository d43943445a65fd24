"""SQLAlchemy's engines in the application's code, and the limits that it gives its statements."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from commonpool.chain.application_modules import Module
from commonpool.chain.application_values import UNKNOWN, Values
from commonpool.chain.hiding import without_password
from commonpool.chain.model import Engine, Setting

DEFAULTS: Mapping[str, object] = {
    "pool_size": 5,
    "max_overflow": 10,
    "pool_timeout": 30.0,
    "pool_recycle": -1,
    "pool_pre_ping": False,
    "poolclass": "QueuePool",
}
"""SQLAlchemy's own, for `create_engine`."""

DRIVERS: Mapping[str, str] = {
    "mysql": "mysqldb",
    "mariadb": "mysqldb",
    "postgresql": "psycopg2",
    "sqlite": "pysqlite",
    "oracle": "cx_oracle",
    "mssql": "pyodbc",
}
"""What a URL without a driver means."""

FLASK_RECYCLE = 7200
"""Flask-SQLAlchemy's `pool_recycle` for MySQL and MariaDB."""

_CREATE = frozenset(
    {
        "sqlalchemy.create_engine",
        "sqlalchemy.engine.create_engine",
        "sqlalchemy.future.create_engine",
        "sqlalchemy.ext.asyncio.create_async_engine",
        "sqlmodel.create_engine",
    }
)
_FLASK = frozenset({"flask_sqlalchemy.SQLAlchemy", "flask_sqlalchemy.extension.SQLAlchemy"})
_LIMIT = re.compile(
    r"(max_statement_time|max_execution_time|statement_timeout)\s*(?:=|TO)?\s*'?\s*"
    r"([0-9]+(?:\.[0-9]+)?)?\s*(ms|s|min)?",
    re.IGNORECASE,
)
_IN_SECONDS = {"max_statement_time": 1.0, "max_execution_time": 0.001, "statement_timeout": 0.001}
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0}


def is_create_engine(path: str) -> bool:
    """Whether a function of this full name makes an engine."""
    return path in _CREATE


def is_flask_sqlalchemy(path: str) -> bool:
    """Whether a class of this full name is Flask-SQLAlchemy's extension."""
    return path in _FLASK


def limit_in(text: str) -> float | None:
    """Seconds of the statement limit that a text sets.

    Returns:
        `math.nan` if it sets one whose number is not in it; `None` if it sets none.
    """
    match = _LIMIT.search(text)
    if match is None:
        return None
    if match[2] is None:
        return math.nan
    name = match[1].lower()
    unit = (match[3] or "").lower()
    return float(match[2]) * (_UNITS[unit] if unit else _IN_SECONDS[name])


class Options:
    """What is given to one engine, as it is found.

    Args:
        values: to tell values.
        name: how the application calls it.
    """

    def __init__(self, values: Values, name: str) -> None:
        self._values = values
        self.name = name
        self.given: dict[str, Setting] = {}
        self.is_complete = True
        self.url: Setting | None = None
        self.place: Setting | None = None

    def take_call(self, call: ast.Call, module: Module, skipped: Iterable[str] = ()) -> None:
        """Take the keywords of a call."""
        for keyword in call.keywords:
            if keyword.arg is None:
                self.take_dict(keyword.value, module)
            elif keyword.arg not in skipped:
                self.take(keyword.arg, keyword.value, module)

    def take_dict(self, node: ast.AST, module: Module) -> None:
        """Take what a mapping says, as far as it is known."""
        if isinstance(node, ast.Name | ast.Attribute):
            found = self._values.meaning(node, module)
            if found is not None and isinstance(found[1], ast.Dict | ast.Call | ast.IfExp):
                self.take_dict(found[1], found[0])
                return
        if isinstance(node, ast.Call) and self._values.path_of(node.func, module) == "dict":
            self.take_call(node, module)
            self.is_complete = self.is_complete and not node.args
            return
        if isinstance(node, ast.IfExp):
            branches = [node.body, node.orelse]
            self.take_dict(max(branches, key=_size), module)
            return
        if not isinstance(node, ast.Dict):
            self.is_complete = False
            return
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                self.take_dict(value, module)
                continue
            name = self._values.of(key, module)
            if isinstance(name, str):
                self.take(name, value, module)
            else:
                self.is_complete = False

    def take_dicts(self, nodes: Sequence[tuple[ast.AST, Module]]) -> None:
        """Take what settings for several occasions say alike: which of them count is not known."""
        taken = []
        for node, module in nodes:
            one = Options(self._values, self.name)
            one.take_dict(node, module)
            if one.given or not one.is_complete:  # else it says that there is nothing to say
                taken.append(one)
        for one in taken:
            self.is_complete = self.is_complete and one.is_complete
            for name, setting in one.given.items():
                others = [other.given.get(name) for other in taken]
                if all(other is not None and other.value == setting.value for other in others):
                    self.given[name] = setting
                else:
                    self.given[name] = Setting(None, setting.file, setting.line)

    def take(self, name: str, node: ast.AST, module: Module) -> None:
        """Take one option."""
        line = getattr(node, "lineno", 0)
        if name == "connect_args":
            self._take_limits(node, module)
        if name == "poolclass":
            written = ast.unparse(node)
            kind = written.rpartition(".")[2]
            self.given[name] = Setting(kind, module.shown, line)
            return
        value = self._values.of(node, module)
        is_plain = isinstance(node, ast.Constant)
        written = "" if is_plain else without_password(ast.unparse(node))[:200]
        self.given[name] = Setting(None if value is UNKNOWN else value, module.shown, line, written)

    def take_url(self, node: ast.AST, module: Module) -> None:
        """Take the URL."""
        value = self._values.of(node, module)
        if isinstance(value, str):
            self.url = Setting(value, module.shown, getattr(node, "lineno", 0))
        elif isinstance(node, ast.Call):  # URL.create("mysql+pymysql", ...)
            first = next(iter(node.args), None) or next(
                (one.value for one in node.keywords if one.arg == "drivername"), None
            )
            name = None if first is None else self._values.of(first, module)
            if isinstance(name, str) and "://" not in name and " " not in name:
                self.url = Setting(f"{name}://", module.shown, node.lineno)
            elif isinstance(name, str):
                self.url = Setting(name, module.shown, node.lineno)

    def take_limit(self, text: str, file: str, line: int) -> None:
        """Take the statement limit that a text of the application sets, if it does."""
        limit = limit_in(text)
        if limit is not None:
            known = None if math.isnan(limit) else limit
            earlier = self.given.get("statement_seconds")
            if earlier is None or earlier.value is None:
                self.given["statement_seconds"] = Setting(
                    known, file, line, without_password(text.strip())[:200]
                )

    def _take_limits(self, node: ast.AST, module: Module) -> None:
        value = self._values.of(node, module)
        line = getattr(node, "lineno", 0)
        if isinstance(value, dict):
            for key in ("init_command", "options"):
                if isinstance(value.get(key), str):
                    self.take_limit(value[key], module.shown, line)
        else:
            self.take_limit(ast.unparse(node), module.shown, line)

    def engine(self, *, is_flask: bool) -> Engine:
        """The engine, with SQLAlchemy's defaults where nothing else can have been given."""
        values = {
            name: setting
            for name, setting in self.given.items()
            if name in DEFAULTS or name == "statement_seconds"
        }
        if self.url is not None:
            values |= of_url(self.url)
        dialect = values["dialect"].value if "dialect" in values else ""
        kind = values["poolclass"].value if "poolclass" in values else "QueuePool"
        if self.is_complete:
            for name, default in DEFAULTS.items():
                if name not in values and (kind == "QueuePool" or name == "pool_recycle"):
                    values[name] = Setting(default, "default")
            if is_flask and dialect in ("mysql", "mariadb") and "pool_recycle" not in self.given:
                values["pool_recycle"] = Setting(FLASK_RECYCLE, "default")
        else:
            values.setdefault("statement_seconds", Setting(None))
        known = {
            name: setting
            for name, setting in values.items()
            if setting.value is not None or name == "statement_seconds"
        }
        return Engine(self.name, known, self.place, is_flask)


def of_url(url: Setting) -> dict[str, Setting]:
    """Dialect, driver and statement limit of a URL: ``mysql+pymysql://...``."""
    text = str(url.value)
    scheme, separator, _ = text.partition("://")
    if not separator:
        return {}
    dialect, _, driver = scheme.partition("+")
    if not dialect:
        return {}
    values: dict[str, Any] = {"dialect": dialect}
    if driver or dialect in DRIVERS:
        values["driver"] = driver or DRIVERS[dialect]
    settings = {name: Setting(value, url.file, url.line) for name, value in values.items()}
    try:
        query = parse_qs(urlsplit(text).query)
    except ValueError:
        return settings
    for key in ("options", "init_command"):
        for one in query.get(key, ()):
            limit = limit_in(unquote(one))
            if limit is not None and not math.isnan(limit):
                settings["statement_seconds"] = Setting(limit, url.file, url.line, one)
    return settings


def _size(node: ast.AST) -> int:
    return len(node.keys) if isinstance(node, ast.Dict) else 0
