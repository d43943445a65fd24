"""The public names, and the shape behind them: one direction of imports, no borrowed names."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

import commonpool
from commonpool import CommonPool, OwnerExecutor, PoolConfig

PACKAGE = Path(commonpool.__file__).parent
ROOT = PACKAGE.parent.parent

# Each module imports from those above it.
IN_ORDER = [
    "greenlets",
    "errors",
    "config",
    "budget",
    "unread",
    "task",
    "threadless",
    "adapters",
    "kept_task",
    "kept_functions",
    "demand",
    "fair_queue",
    "pace",
    "put_off",
    "watcher",
    "keeping",
    "crew",
    "stats",
    "stacks",
    "reports",
    "dispatch",
    "pool",
    "process",
    "staged",
    "owner",
    "parallel",
    "wsgi",
    "servers",
    "testing",
]


IN_ORDER_SQLALCHEMY = [
    "stats",
    "statements",
    "limits",
    "sockets",
    "blocking",
    "stop_queue",
    "spare",
    "servers",
    "running_statement",
    "stopping",
    "connecting",
    "in_line",
    "engines",
    "forks",
    "stand",
    "sessions",
    "finding",
    "replicas",
    "scoped",
    "snapshots",
    "rows",
    "execution",
    "call",
    "statement",
    "kept",
    "things",
    "__init__",
    "flask_sqlalchemy",
]


IN_ORDER_OFFLOAD = [
    "errors",
    "calls",
    "child",
    "turns",
    "children",
    "cluster",
    "office",
    "task",
    "__init__",
]


# The packages of the program `commonpool`, in the same order; each may import the core.
IN_ORDER_OF_THE_PROGRAM = ["chain", "doctor", "tune", "plan", "cli"]


IN_ORDER_DOCTOR = [
    "findings",
    "facts",
    "checks_uwsgi",
    "checks_times",
    "checks_engine",
    "checks_limits",
    "checks_nginx",
    "checks_application",
    "examine",
    "picture",
    "report",
    "secrets",
    "__init__",
]


IN_ORDER_CHAIN = [
    "model",
    "measured",
    "figures",
    "text_files",
    "hiding",
    "units",
    "versions",
    "uwsgi_options",
    "uwsgi_formats",
    "uwsgi_magic",
    "uwsgi_logic",
    "uwsgi_passes",
    "uwsgi_files",
    "stats",
    "nginx_packaged",
    "nginx_templates",
    "nginx_tree",
    "nginx_files",
    "interpolation",
    "placed_yaml",
    "dockerfiles",
    "database_commands",
    "compose_files",
    "application_modules",
    "application_values",
    "application_walk",
    "application_engines",
    "application",
    "application_child",
    "application_load",
    "host",
    "database",
    "site_answers",
    "pool_settings",
    "reading",
    "__init__",
]


IN_ORDER_PLAN = [
    "__init__",
    "errors",
    "stations",
    "model",
    "simulation",
    "loads",
    "fitting",
    "sizing",
    "report",
]


def in_the_core() -> set[str]:
    return {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node
            yield from at_run_time(node)


# Read before there is any test: Python 3.11 may fail to parse while another thread does, and what
# earlier tests have left behind may still write a traceback, for which it parses (gh-106905).
TREES = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


PACKAGES = ("commonpool", "commonpool.chain", "commonpool.ext", "commonpool.ext.sqlalchemy")


def imports_of(path: Path) -> set[str]:
    """The full names of the modules that a file imports, in its functions too."""
    names: set[str] = set()
    for node in at_run_time(TREES[path]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            module = node.module or ""
            if module in PACKAGES:
                names |= {f"{module}.{alias.name}" for alias in node.names}
            else:
                names.add(module)
    return names


def members() -> list[tuple[str, object]]:
    """The public classes and functions, and the public members of the classes."""
    found: list[tuple[str, object]] = []
    for name in commonpool.__all__:
        thing = getattr(commonpool, name)
        found.append((name, thing))
        if inspect.isclass(thing):
            found += [
                (f"{name}.{attribute}", value)
                for attribute, value in vars(thing).items()
                if not attribute.startswith("_")
                and (inspect.isroutine(value) or isinstance(value, property))
            ]
    return found


# Names


def test_the_public_names_are_these():
    assert commonpool.__all__ == [
        "CommonPool",
        "CommonPoolError",
        "CommonPoolMiddleware",
        "ConfigError",
        "DeadlineExceeded",
        "OwnerExecutor",
        "PoolClosed",
        "PoolConfig",
        "PoolSaturated",
        "PoolStats",
        "TaskCancelled",
        "TaskGroup",
        "WrongThread",
        "as_task",
        "current_executor",
        "run_in_parallel",
    ]


def test_the_names_for_tests_are_these():
    from commonpool import testing  # noqa: PLC0415 - nobody else here needs it

    assert testing.__all__ == ["inline", "reset"]


def test_every_name_that_the_readme_imports_is_there():
    imported = re.findall(
        r"^\s*from (commonpool\S*) import (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert imported
    for module, names in imported:
        for name in names.partition("#")[0].split(","):
            assert hasattr(importlib.import_module(module), name.strip())


@pytest.mark.parametrize("knob", dataclasses.fields(PoolConfig), ids=lambda knob: knob.name)
def test_the_readme_has_every_knob_in_its_table(knob):
    assert f"\n| `{knob.name}` | " in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "thing"), members(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_everything_public_has_a_docstring(name, thing):
    assert (thing.__doc__ or "").strip(), name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(TREES[path])


# Imports


def test_the_order_of_imports_knows_every_module():
    assert set(IN_ORDER) == in_the_core()


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_module_imports_from_those_above_it_alone(name):
    ours = {
        imported.removeprefix("commonpool.")
        for imported in imports_of(PACKAGE / f"{name}.py")
        if imported.startswith("commonpool")
    }
    assert ours <= set(IN_ORDER[: IN_ORDER.index(name)])


@pytest.mark.parametrize("name", IN_ORDER)
def test_the_core_needs_the_standard_library_alone(name):
    theirs = {
        imported.partition(".")[0]
        for imported in imports_of(PACKAGE / f"{name}.py")
        if not imported.startswith("commonpool")
    }
    assert theirs <= sys.stdlib_module_names


def test_the_order_of_imports_of_the_adapter_for_sqlalchemy_knows_every_module():
    folder = PACKAGE / "ext" / "sqlalchemy"
    assert set(IN_ORDER_SQLALCHEMY) == {path.stem for path in folder.glob("*.py")}


@pytest.mark.parametrize("name", IN_ORDER_SQLALCHEMY)
def test_a_module_of_the_adapter_for_sqlalchemy_imports_from_those_above_it_alone(name):
    package = "commonpool.ext.sqlalchemy"
    imported = imports_of(PACKAGE / "ext" / "sqlalchemy" / f"{name}.py")
    ours = {module.removeprefix(f"{package}.") for module in imported if module.startswith(package)}
    above = IN_ORDER_SQLALCHEMY[: IN_ORDER_SQLALCHEMY.index(name)]
    assert ours - {package} <= set(above)


def test_the_order_of_imports_of_plan_knows_every_module():
    assert set(IN_ORDER_PLAN) == {path.stem for path in (PACKAGE / "plan").glob("*.py")}


@pytest.mark.parametrize("name", IN_ORDER_PLAN)
def test_a_module_of_plan_imports_from_those_above_it_and_the_chain_alone(name):
    package = "commonpool.plan"
    ours = {
        package if module == package else module.removeprefix(f"{package}.")
        for module in imports_of(PACKAGE / "plan" / f"{name}.py")
        if module.startswith("commonpool")
    }
    above = IN_ORDER_PLAN[: IN_ORDER_PLAN.index(name)]
    chain = {"commonpool.chain.measured", "commonpool.chain.figures"}
    assert ours - {package, *chain} <= set(above)


def test_the_order_of_imports_of_offload_knows_every_module():
    assert set(IN_ORDER_OFFLOAD) == {path.stem for path in (PACKAGE / "ext/offload").glob("*.py")}


@pytest.mark.parametrize("name", IN_ORDER_OFFLOAD)
def test_a_module_of_offload_imports_from_those_above_it_alone(name):
    package = "commonpool.ext.offload"
    imported = imports_of(PACKAGE / "ext" / "offload" / f"{name}.py")
    ours = {module.removeprefix(f"{package}.") for module in imported if module.startswith(package)}
    assert ours - {package} <= set(IN_ORDER_OFFLOAD[: IN_ORDER_OFFLOAD.index(name)])
    assert not {
        module
        for module in imported
        if module.startswith("commonpool.ext.") and not module.startswith(package)
    }


def test_the_program_of_a_child_process_needs_the_standard_library_alone():
    imported = imports_of(PACKAGE / "ext" / "offload" / "child.py")
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted((PACKAGE / "ext").glob("*.py")), ids=lambda path: path.stem)
def test_an_adapter_does_not_import_its_siblings(path):
    assert not {name for name in imports_of(path) if name.startswith("commonpool.ext")}


@pytest.mark.parametrize("name", IN_ORDER_OF_THE_PROGRAM)
def test_a_package_of_the_program_imports_from_those_above_it_alone(name):
    below = IN_ORDER_OF_THE_PROGRAM[IN_ORDER_OF_THE_PROGRAM.index(name) + 1 :]
    imported = {module for path in (PACKAGE / name).rglob("*.py") for module in imports_of(path)}
    assert not {module for module in imported if module.split(".")[:1] == ["stack"]}
    assert not {
        module
        for module in imported
        if module.startswith("commonpool.") and module.split(".")[1] in below
    }


def test_importing_commonpool_loads_no_framework_and_starts_no_thread():
    program = (
        "import sys, threading, commonpool, commonpool.testing;"
        "foreign = {name.partition('.')[0] for name in sys.modules} & "
        "{'flask', 'werkzeug', 'sqlalchemy', 'asyncio', 'gevent', 'multiprocessing'};"
        "print(sorted(foreign), threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "[] 1\n"


# The standard library's executor


def private_names() -> set[str]:
    """The private names of this Python's own executor, in its classes and its instances."""
    with ThreadPoolExecutor(1) as theirs:
        names = {*vars(theirs), *vars(ThreadPoolExecutor), *vars(Executor)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize("kind", [CommonPool, OwnerExecutor])
def test_no_class_reuses_a_private_name_of_the_standard_executor(kind):
    assert not private_names() & set(vars(kind))


@pytest.mark.parametrize("kind", [CommonPool, OwnerExecutor])
def test_no_instance_reuses_a_private_name_of_the_standard_executor(monkeypatch, kind):
    def sets_nothing(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(ThreadPoolExecutor, "__init__", sets_nothing)
    own = set(vars(kind()))
    monkeypatch.undo()
    assert own
    assert not private_names() & own


@pytest.mark.parametrize("kind", [CommonPool, OwnerExecutor])
def test_every_public_method_of_the_standard_executor_that_would_use_its_threads_is_replaced(kind):
    assert {"submit", "shutdown"} <= set(vars(kind))


# What is installed


@pytest.mark.timeout(300)
def test_the_wheel_holds_the_package_with_its_types_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=280,
    )
    (wheel,) = tmp_path.glob("commonpool-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "commonpool/py.typed" in held
    assert held == source


def test_the_order_of_imports_of_the_chain_knows_every_module():
    assert set(IN_ORDER_CHAIN) == {path.stem for path in (PACKAGE / "chain").glob("*.py")}


@pytest.mark.parametrize("name", IN_ORDER_CHAIN)
def test_a_module_of_the_chain_imports_from_those_above_it_alone(name):
    package = "commonpool.chain"
    imported = imports_of(PACKAGE / "chain" / f"{name}.py")
    ours = {module.removeprefix(f"{package}.") for module in imported if module.startswith(package)}
    assert ours - {package} <= set(IN_ORDER_CHAIN[: IN_ORDER_CHAIN.index(name)])


def test_the_order_of_imports_of_the_doctor_knows_every_module():
    assert set(IN_ORDER_DOCTOR) == {path.stem for path in (PACKAGE / "doctor").glob("*.py")}


@pytest.mark.parametrize("name", IN_ORDER_DOCTOR)
def test_a_module_of_the_doctor_imports_from_those_above_it_alone(name):
    package = "commonpool.doctor"
    imported = imports_of(PACKAGE / "doctor" / f"{name}.py")
    ours = {module.removeprefix(f"{package}.") for module in imported if module.startswith(package)}
    above = IN_ORDER_DOCTOR[: IN_ORDER_DOCTOR.index(name)]
    assert {one.partition(".")[0] for one in ours - {package}} <= set(above)


def test_what_the_application_is_loaded_with_needs_the_standard_library_alone():
    imported = imports_of(PACKAGE / "chain" / "application_child.py")
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
