"""The application's own modules, found and parsed as Python would import them, but not run."""

from __future__ import annotations

import ast
import glob
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from commonpool.chain.model import Unreadable, Uwsgi
from commonpool.chain.text_files import NotReadError, is_file, is_folder, read_bytes

_MOST_MODULES = 1_000
_MOST_BYTES = 2_000_000
_OTHERS = ("site-packages", "dist-packages")
_NOT_THE_PROJECT = ("commonpool", "flask", "sqlalchemy", "flask_sqlalchemy", "werkzeug")


@dataclass
class Module:
    """One module of the project.

    Attributes:
        name: as it is imported; of a file that uWSGI is given, its path.
        path: of its file.
        tree: of its code.
        names: what its names are, at its top: ``("module", "a.b")``, ``("name", "a.b", "c")`` for
            what is imported, an assigned expression, a function or a class.
        imports: names of the modules that it imports, in functions too, where the project has them.
    """

    name: str
    path: Path
    tree: ast.Module
    names: dict[str, tuple[str, ...] | ast.AST] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """Its path, for people: from the working folder, where it is below that."""
        try:
            return str(self.path.resolve().relative_to(Path.cwd()))
        except (ValueError, OSError):
            return str(self.path)

    @property
    def package(self) -> str:
        """What relative imports begin at."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Target:
    """What uWSGI is told to load.

    Attributes:
        given: as it stands there: ``stack.wsgi:application``.
        module: name of a module; empty where a file is given.
        file: path of a file; empty where a module is given.
        where: the option that says so.
    """

    given: str
    module: str
    file: str
    where: str
    line: int


def targets(uwsgi: Uwsgi) -> list[Target]:
    """What uWSGI loads, in its order: ``module``, ``wsgi-file``, ``mount``."""
    found = []
    last = uwsgi.get("module")
    if last is not None:
        found.append(_target(str(last.value), last.file, last.line))
    last = uwsgi.get("wsgi-file")
    if last is not None:
        found.append(Target(str(last.value), "", str(last.value), last.file, last.line))
    for mount in uwsgi.options.get("mount", ()):
        _, equals, what = str(mount.value).partition("=")
        if equals:
            found.append(_target(what, mount.file, mount.line))
    return found


def _target(given: str, where: str, line: int) -> Target:
    if given.endswith((".py", ".wsgi")) or "/" in given:
        return Target(given, "", given, where, line)
    return Target(given, given.partition(":")[0], "", where, line)


def search_path(uwsgi: Uwsgi) -> list[Path]:
    """The folders in which uWSGI's Python looks for modules, as far as the options say so."""
    home = Path.cwd() / Path(uwsgi.file.partition(":")[0]).parent
    chdir = uwsgi.get("chdir2") or uwsgi.get("chdir")
    start = Path.cwd() if chdir is None else Path.cwd() / str(chdir.value)
    if not is_folder(start):  # of the container that it is meant for
        start = home
    folders = [start]
    for entry in uwsgi.options.get("pythonpath", ()):
        given = str(start / str(entry.value))
        folders += [Path(name) for name in sorted(glob.glob(given)) or [given]]  # noqa: PTH207
    variable = uwsgi.environ.get("PYTHONPATH")
    if variable is not None:
        folders += [Path(part) for part in str(variable.value).split(":") if part]
    folders.append(home)
    return [folder for folder in dict.fromkeys(folders) if is_folder(folder)] or [Path.cwd()]


class Project:
    """The modules below some folders.

    Args:
        folders: in which modules are looked for, in turn.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.problems: list[Unreadable] = []
        self.modules: dict[str, Module] = {}
        self._missing: set[str] = set()

    def find(self, name: str) -> Module | None:
        """The module of that name; `None` if the project has none."""
        if name in self.modules:
            return self.modules[name]
        if not name or name in self._missing or name.partition(".")[0] in _NOT_THE_PROJECT:
            return None
        path = self._path_of(name)
        module = None if path is None else self._parse(name, path)
        if module is None:
            self._missing.add(name)
        return module

    def find_file(self, given: str) -> Module | None:
        """The module in a file that uWSGI is given; `None` if it is not there."""
        for folder in self.folders:
            path = folder / given
            if is_file(path):
                return self._parse(str(path), path)
        return None

    def with_imports(self, start: Module) -> list[Module]:
        """The module and all of the project that it imports, and they, each once."""
        found: dict[str, Module] = {}
        waiting = [start]
        while waiting and len(found) < _MOST_MODULES:
            module = waiting.pop(0)
            if module.name in found:
                continue
            found[module.name] = module
            for name in module.imports:
                imported = self.find(name)
                if imported is not None:
                    waiting.append(imported)
        return list(found.values())

    def _path_of(self, name: str) -> Path | None:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        inner = Path(*parts)
        for folder in self.folders:
            for path in (folder / inner / "__init__.py", folder / inner.with_suffix(".py")):
                if is_file(path) and not any(part in _OTHERS for part in path.parts):
                    return path
        return None

    def _parse(self, name: str, path: Path) -> Module | None:
        try:
            source = read_bytes(path, "application")
            if len(source) > _MOST_BYTES:
                raise NotReadError("application", str(path), 0, "is too large to be looked at")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source, str(path))
        except NotReadError as error:
            self.problems.append(error.unreadable)
            return None
        except SyntaxError as error:
            self._problem(path, error.lineno or 0, f"is no Python: {error.msg}")
            return None
        except (ValueError, RecursionError, MemoryError) as error:
            self._problem(path, 0, f"is no Python: {error}")
            return None
        module = Module(name, path, tree)
        self.modules[name] = module
        _Names(self, module).visit_all(tree.body)
        return module

    def _problem(self, path: Path, line: int, message: str) -> None:
        self.problems.append(Unreadable("application", str(path), line, message))

    def has(self, name: str) -> bool:
        """Whether the project has a module of that name, which is not parsed for that."""
        is_ours = name.partition(".")[0] not in _NOT_THE_PROJECT
        return name in self.modules or (is_ours and bool(name) and self._path_of(name) is not None)


class _Names:
    """Collects what a module imports, and what its top-level names are."""

    def __init__(self, project: Project, module: Module) -> None:
        self._project = project
        self._module = module

    def visit_all(self, body: Sequence[ast.stmt]) -> None:
        for node in ast.walk(ast.Module(list(body), [])):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._import(alias.name)
            elif isinstance(node, ast.ImportFrom):
                self._import_from(node)
        self._top(body)

    def _import(self, name: str) -> None:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            self._add(".".join(parts[:length]))

    def _import_from(self, node: ast.ImportFrom) -> None:
        base = base_of(self._module, node)
        self._import(base)
        for alias in node.names:
            if self._project.has(f"{base}.{alias.name}"):
                self._add(f"{base}.{alias.name}")

    def _add(self, name: str) -> None:
        if name and name not in self._module.imports and self._project.has(name):
            self._module.imports.append(name)

    def _top(self, body: Sequence[ast.stmt]) -> None:
        names = self._module.names
        for node in body:
            names.update(bound_by(self._module, node))
            for inner in blocks_of(node):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    self._top(inner)


def base_of(module: Module, node: ast.ImportFrom) -> str:
    """The full name of the module that is imported from."""
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    kept = parts[: len(parts) - (node.level - 1)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def bound_by(  # noqa: C901 - a case for each kind of statement
    module: Module, node: ast.stmt
) -> Mapping[str, tuple[str, ...] | ast.AST]:
    """The names that a statement gives a meaning to, itself, not in its blocks."""
    found: dict[str, tuple[str, ...] | ast.AST] = {}
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                found[alias.asname] = ("module", alias.name)
            else:
                top = alias.name.partition(".")[0]
                found[top] = ("module", top)
    elif isinstance(node, ast.ImportFrom):
        base = base_of(module, node)
        for alias in node.names:
            found[alias.asname or alias.name] = ("name", base, alias.name)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        found[node.name] = node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                found[target.id] = node.value
    elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
        found[node.target.id] = node.value
    return found


def blocks_of(node: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of a statement."""
    blocks = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
    handlers = [handler.body for handler in getattr(node, "handlers", [])]
    cases = [case.body for case in getattr(node, "cases", [])]
    return [block for block in [*blocks, *handlers, *cases] if isinstance(block, list)]
