"""What the application's own code says of its engines and its modes, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from commonpool.chain.application_engines import (
    Options,
    is_create_engine,
    is_flask_sqlalchemy,
    limit_in,
)
from commonpool.chain.application_modules import Module, Project, search_path, targets
from commonpool.chain.application_values import UNKNOWN, Values
from commonpool.chain.application_walk import Reached, Walk
from commonpool.chain.hiding import without_password
from commonpool.chain.model import Application, Engine, Setting, Unreadable, Uwsgi
from commonpool.chain.versions import installed
from commonpool.config import DEFAULTS, PREFIX

_MAKES_POOL = frozenset(
    f"commonpool.{name}"
    for name in (
        *("CommonPool", "run_in_parallel", "pool.CommonPool", "parallel.run_in_parallel"),
        *("process.current_pool", "testing.inline"),
    )
)
_RUNS_TASKS = frozenset({"submit", "map", "background", "task_group", "run_in_parallel"})
_EXECUTOR = frozenset({"commonpool.current_executor", "commonpool.owner.current_executor"})
_KNOBS = tuple(PREFIX + knob.upper() for knob in DEFAULTS)
_CONFIG_CLASS = frozenset({"commonpool.PoolConfig", "commonpool.config.PoolConfig"})
_ENGINE_OPTIONS = "SQLALCHEMY_ENGINE_OPTIONS"
_CONFIG = (_ENGINE_OPTIONS, "SQLALCHEMY_DATABASE_URI", "DEBUG", *_KNOBS)
_FOREIGN = frozenset(
    f"concurrent.futures.{name}"
    for name in (
        *("ThreadPoolExecutor", "thread.ThreadPoolExecutor"),
        *("ProcessPoolExecutor", "process.ProcessPoolExecutor"),
    )
)
_ADAPTERS = ("commonpool.ext.sqlalchemy", "commonpool.ext.flask")
_OFF = frozenset({"", "0", "false", "no", "off"})
_FROM_ELSEWHERE = frozenset(
    {"from_object", "from_pyfile", "from_envvar", "from_file", "from_json", "from_prefixed_env"}
)


def read_application(uwsgi: Uwsgi) -> tuple[Application, list[Unreadable]]:
    """Look at the code that uWSGI would load; nothing of it is run.

    Args:
        uwsgi: says which module it is, and where modules are.

    Returns:
        What was found, and what could not be read, with the rest looked at nevertheless.
    """
    project = Project(search_path(uwsgi))
    given = targets(uwsgi)
    look = _Look(uwsgi, project)
    for target in given:
        name = target.module
        module = project.find(name) if name else project.find_file(target.file)
        if module is not None:
            try:
                look.at(module)
            except RecursionError:
                project.problems.append(_too_deep(target.where, target.line, target.given))
        elif not project.problems:
            folders = ", ".join(map(str, project.folders))
            project.problems.append(
                Unreadable(
                    "application",
                    target.where,
                    target.line,
                    f"{target.given} is not found in {folders}",
                )
            )
    first = given[0].given if given else ""
    try:
        return look.result(first), project.problems
    except RecursionError:
        project.problems.append(_too_deep(uwsgi.file, 0, first))
        return Application(module=first, packages=installed()), project.problems


def _too_deep(file: str, line: int, given: str) -> Unreadable:
    message = f"{given} has expressions that are nested too deeply to be looked at"
    return Unreadable("application", file, line, message)


class _Look:
    def __init__(self, uwsgi: Uwsgi, project: Project) -> None:
        self._uwsgi = uwsgi
        self._project = project
        self._values = Values(project, uwsgi.environ)
        self._walk = Walk(project, self._values)
        self._debug: Setting | None = None
        self._reloader: Setting | None = None
        self._pool: Setting | None = None
        self._foreign: Setting | None = None
        self._gevent: Setting | None = None
        self._settings: dict[str, Setting] = {}
        self._at_import: dict[tuple[str, int, int], Setting] = {}
        self._modules: list[Module] = []
        self._app_at_import: Setting | None = None

    def at(self, start: Module) -> None:
        """Look at one module that uWSGI loads, and at what it imports."""
        for reached in self._walk.start(start):
            self._see(reached)
        for module in self._project.with_imports(start):
            if module not in self._modules:
                self._modules.append(module)

    # What runs at import.

    def _see(self, reached: Reached) -> None:
        node, module = reached.node, reached.module
        before = self._debug, self._reloader
        if isinstance(node, ast.Call):
            self._see_call(node, module)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._see_assignment(target, node, module)
        if not reached.is_sure:  # `if app.config["IS_MY_LAPTOP"]: app.debug = True`
            self._debug, self._reloader = before

    def _see_call(self, call: ast.Call, module: Module) -> None:
        path = self._values.path_of(call.func, module)
        place = _place(call, module)
        self._at_import[_key(call, module)] = place
        name = call.func.attr if isinstance(call.func, ast.Attribute) else path
        keywords = {one.arg: one.value for one in call.keywords if one.arg}
        if path in _CONFIG_CLASS:
            self._see_pool_config(call, module)
        elif path in _MAKES_POOL or self._is_executor(call, module):
            self._pool = self._pool or place
        elif self._is_foreign(call, module):
            self._foreign = self._foreign or replace(place, value="executor")
        elif path == "werkzeug.debug.DebuggedApplication" or (
            name == "run" and self._is_true(keywords.get("debug"), module)
        ):
            self._debug = self._debug or place
        elif path in ("gevent.monkey.patch_all", "gevent.monkey.patch_socket"):
            self._gevent = self._gevent or place
        elif name in ("update", "from_mapping") and self._is_true(keywords.get("DEBUG"), module):
            self._debug = self._debug or place
        elif name == "from_object" and call.args:
            self._see_config(call.args[0], module)
        if self._is_true(keywords.get("use_reloader"), module) or path.endswith(
            "run_with_reloader"
        ):
            self._reloader = self._reloader or place

    def _see_pool_config(self, call: ast.Call, module: Module) -> None:
        """``PoolConfig(max_workers=8)``: what it does not name has its default."""
        given = {one.arg: one.value for one in call.keywords}
        if None in given or call.args:
            return
        place = _place(call, module)
        for knob, default in DEFAULTS.items():
            value = self._values.of(given[knob], module) if knob in given else default
            if value is not UNKNOWN:
                self._settings[knob] = Setting(value, place.file, place.line, place.written)

    def _is_executor(self, call: ast.Call, module: Module) -> bool:
        return (
            isinstance(call.func, ast.Attribute)
            and call.func.attr in _RUNS_TASKS
            and isinstance(call.func.value, ast.Call)
            and self._values.path_of(call.func.value.func, module) in _EXECUTOR
        )

    def _is_foreign(self, call: ast.Call, module: Module) -> bool:
        """Whether it has the standard library's executor run something."""
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("submit", "map"):
            return False
        found = self._values.meaning(call.func.value, module)
        return (
            found is not None
            and isinstance(found[1], ast.Call)
            and self._values.path_of(found[1].func, found[0]) in _FOREIGN
        )

    def _see_assignment(self, target: ast.expr, node: ast.Assign, module: Module) -> None:
        if not self._is_true(node.value, module):
            return
        is_debug = (
            isinstance(target, ast.Attribute)
            and target.attr == "debug"
            and self._is_application(target.value, module)
        )
        if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            is_debug = target.slice.value == "DEBUG" and "config" in ast.unparse(target.value)
        if is_debug:
            self._debug = self._debug or _place(node, module)

    def _is_application(self, node: ast.expr, module: Module) -> bool:
        """Whether it is Flask's, by what it is made of, or by its name."""
        found = self._values.meaning(node, module)
        if found is not None and isinstance(found[1], ast.Call):
            path = self._values.path_of(found[1].func, found[0])
            if path.startswith("flask."):
                return True
        return isinstance(node, ast.Name) and node.id in ("app", "application", "flask_app")

    def _see_config(self, argument: ast.expr, module: Module) -> None:
        """A class or module of settings that the application takes."""
        name = self._values.of(argument, module)
        if isinstance(name, str):
            found = self._values.definition(name)
            whole = self._project.find(name)
        else:
            found = self._values.meaning(argument, module)
            whole = self._project.find(self._values.path_of(argument, module))
        body: list[ast.stmt] = []
        where = module
        if found is not None and isinstance(found[1], ast.ClassDef):
            where, body = found[0], found[1].body
        elif whole is not None:
            where, body = whole, whole.tree.body
        for node in body:
            if (
                isinstance(node, ast.Assign | ast.AnnAssign)
                and "DEBUG" in _targets(node)
                and self._is_true(node.value, where)
            ):
                self._debug = self._debug or _place(node, where)

    def _is_true(self, node: ast.AST | None, module: Module) -> bool:
        if node is None:
            return False
        value = self._values.of(node, module)
        return value is not UNKNOWN and value is not None and bool(value)

    # What is anywhere in the code.

    def result(self, name: str) -> Application:
        """What was found."""
        engines = self._engines()
        variable = self._uwsgi.environ.get("FLASK_DEBUG")
        if self._debug is None and variable and str(variable.value).lower() not in _OFF:
            self._debug = Setting(True, variable.file, variable.line, "FLASK_DEBUG")  # noqa: FBT003
        return Application(
            module=name,
            engines=engines,
            pool_made_at_import=self._foreign or self._pool,
            debug=self._debug,
            reloader=self._reloader or self._uwsgis_reloader(),
            loop=self._loop(),
            packages=installed(),
            pool=self._settings,
            adapted=self._adapted(),
        )

    def _adapted(self) -> Setting | None:
        for module in self._modules:
            for node in ast.walk(module.tree):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                if any(f"{name}.".startswith(f"{one}.") for name in names for one in _ADAPTERS):
                    return _place(node, module)
        return None

    def _uwsgis_reloader(self) -> Setting | None:
        found = self._uwsgi.get("py-autoreload")
        if found is not None and self._uwsgi.number("py-autoreload") > 0:
            return Setting(True, found.file, found.line, f"py-autoreload = {found.value}")  # noqa: FBT003
        return None

    def _loop(self) -> Setting | None:
        for name in ("gevent", "asyncio"):
            found = self._uwsgi.get(name)
            if found is not None:
                return Setting(name, found.file, found.line, f"{name} = {found.value}")
        found = self._uwsgi.get("loop")
        if found is not None and found.value in ("gevent", "asyncio"):
            return Setting(found.value, found.file, found.line, f"loop = {found.value}")
        if self._gevent is not None:
            return Setting(
                "gevent", self._gevent.file, self._gevent.line, "gevent.monkey.patch_all()"
            )
        return None

    def _engines(self) -> list[Engine]:
        engines: list[Engine] = []
        extension: Options | None = None
        extensions: set[str] = set()
        config: list[tuple[str, ast.expr, Module]] = []
        limits: list[tuple[str, Module, int]] = []
        inits: list[Setting] = []
        is_elsewhere = False
        for module in self._modules:  # which grows by modules of settings
            for view, node in _with_views(module):
                if isinstance(node, ast.Call):
                    is_elsewhere |= not self._has_settings(node, view)
                    path = self._values.path_of(node.func, view)
                    if is_create_engine(path):
                        engines.append(self._created(node, view))
                    elif is_flask_sqlalchemy(path):
                        extension = extension or Options(self._values, "db")
                        extensions |= _names_of(module, node)
                        self._extended(extension, node, view)
                    elif (
                        isinstance(node.func, ast.Attribute)
                        and node.func.attr == "init_app"
                        and _key(node, view) in self._at_import
                    ):
                        inits.append(self._at_import[_key(node, view)])
                config += [(*found, view) for found in _configured(node)]
                if isinstance(node, ast.Constant) and _is_limit(node.value):
                    limits.append((str(node.value), module, node.lineno))
        self._take_knobs(config)
        if extension is not None:
            extension.is_complete = extension.is_complete and not is_elsewhere
            self._finish(extension, config, inits, extensions)
            engines.append(extension.engine(is_flask=True))
        return [self._limited(engine, limits) for engine in engines]

    def _has_settings(self, call: ast.Call, module: Module) -> bool:
        """Whether the settings that a call has Flask take are among the modules, or now are."""
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in _FROM_ELSEWHERE:
            return True
        if call.func.attr != "from_object" or not call.args:
            return False
        name = self._values.of(call.args[0], module)
        if not isinstance(name, str):
            meaning = self._values.meaning(call.args[0], module)
            is_class = meaning is not None and isinstance(meaning[1], ast.ClassDef)
            return is_class or self._project.has(self._values.path_of(call.args[0], module))
        found = self._values.definition(name)
        whole = found[0] if found else self._project.find(name)
        if whole is not None and whole not in self._modules:
            self._modules.append(whole)
        return whole is not None

    def _take_knobs(self, config: Iterable[tuple[str, ast.expr, Module]]) -> None:
        """What Flask's settings say of the pool."""
        for name, node, module in config:
            value = self._values.of(node, module)
            if name in _KNOBS and value is not UNKNOWN:
                knob = name.removeprefix(PREFIX).lower()
                self._settings[knob] = Setting(value, module.shown, node.lineno)

    def _created(self, call: ast.Call, module: Module) -> Engine:
        names = _names_of(module, call)
        name = next(iter(sorted(names)), "") or _function_around(call, module) or "engine"
        options = Options(self._values, name)
        options.take_call(call, module, skipped=("url",))
        url = call.args[0] if call.args else None
        for keyword in call.keywords:
            if keyword.arg == "url":
                url = keyword.value
        if url is not None:
            options.take_url(url, module)
        options.place = self._at_import.get(_key(call, module))
        return options.engine(is_flask=False)

    def _extended(self, options: Options, call: ast.Call, module: Module) -> None:
        for keyword in call.keywords:
            if keyword.arg == "engine_options":
                options.take_dict(keyword.value, module)
        has_app = bool(call.args) or any(keyword.arg == "app" for keyword in call.keywords)
        if has_app:
            options.place = options.place or self._at_import.get(_key(call, module))

    def _finish(
        self,
        options: Options,
        config: Iterable[tuple[str, ast.expr, Module]],
        inits: list[Setting],
        names: set[str],
    ) -> None:
        config = list(config)
        options.take_dicts(
            [(value, module) for name, value, module in config if name == _ENGINE_OPTIONS]
        )
        for name, value, module in config:
            if name == "SQLALCHEMY_DATABASE_URI":
                options.take_url(value, module)
        own = [place for place in inits if place.written.partition(".init_app")[0] in names]
        options.place = options.place or next(iter(own), None)
        options.name = next(iter(sorted(names)), "db")

    def _limited(self, engine: Engine, limits: list[tuple[str, Module, int]]) -> Engine:
        """With a limit that the code sets elsewhere: in a listener, say."""
        known = engine.values.get("statement_seconds")
        if (known is not None and known.file != "default") or not limits:
            return engine
        options = Options(self._values, engine.name)
        for text, module, line in limits:
            options.take_limit(text, module.shown, line)
        return replace(engine, values={**engine.values, **options.given})


def _is_limit(value: object) -> bool:
    """Whether a text sets a statement limit; one that is longer only speaks of it."""
    longest = 200
    return isinstance(value, str) and len(value) < longest and limit_in(value) is not None


def _with_views(module: Module) -> Iterable[tuple[Module, ast.AST]]:
    """All nodes of a module, each with the names that it sees."""
    from commonpool.chain.application_walk import Function, inside  # noqa: PLC0415

    waiting: list[tuple[Module, ast.AST]] = [(module, module.tree)]
    while waiting:
        view, node = waiting.pop()
        yield view, node
        if isinstance(node, Function):
            view = inside(view, node)
        waiting += [(view, child) for child in ast.iter_child_nodes(node)]


def _configured(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """Flask's settings that a node gives values to."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        return [(name, node.value) for name in _targets(node) if name in _CONFIG]
    if isinstance(node, ast.Call):
        return [(one.arg, one.value) for one in node.keywords if one.arg in _CONFIG]
    if isinstance(node, ast.Dict):
        return [
            (str(key.value), value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and key.value in _CONFIG
        ]
    return []


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """``X`` of ``X = ...``, ``self.X = ...`` and ``app.config["X"] = ...``."""
    names = []
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Name):
            names.append(target.id)
        elif isinstance(target, ast.Attribute):
            names.append(target.attr)
        elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            names.append(str(target.slice.value))
    return names


def _names_of(module: Module, call: ast.Call) -> set[str]:
    """The names that the result of a call is assigned to."""
    return {
        name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is call
        for name in _targets(node)
    }


def _function_around(call: ast.Call, module: Module) -> str:
    """The innermost function that a call stands in."""
    found = [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= call.lineno <= (node.end_lineno or 0)
    ]
    return max(found, key=lambda node: node.lineno).name if found else ""


def _key(node: ast.Call, module: Module) -> tuple[str, int, int]:
    return module.shown, node.lineno, node.col_offset


def _place(node: ast.AST, module: Module) -> Setting:
    written = without_password(ast.unparse(node).partition("\n")[0])[:200]
    return Setting(True, module.shown, getattr(node, "lineno", 0), written)  # noqa: FBT003
