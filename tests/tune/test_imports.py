"""One direction of imports: each module of tune from those above it, and never from the command."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import commonpool

PACKAGE = Path(commonpool.__file__).parent / "tune"

IN_ORDER = [
    "__init__",
    "errors",
    "statistics",
    "recording",
    "grid",
    "goal",
    "unix_peers",
    "configuration",
    "probe",
    "serving",
    "load",
    "generator",
    "measuring",
    "search",
    "verdict",
    "edits",
    "progress",
    "table",
    "plots",
    "tuning",
    "report",
]


def test_the_order_knows_every_module() -> None:
    assert set(IN_ORDER) == {path.stem for path in PACKAGE.glob("*.py")}


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_module_imports_from_those_above_it_alone(name: str) -> None:
    above = IN_ORDER[: IN_ORDER.index(name)]
    for module in imported(PACKAGE / f"{name}.py"):
        if module.startswith("commonpool.tune."):
            assert module.removeprefix("commonpool.tune.") in above
        else:
            assert not module.startswith(("commonpool.cli", "commonpool.doctor", "commonpool.plan"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.module == "commonpool.tune":
                names |= {f"commonpool.tune.{alias.name}" for alias in node.names}
            else:
                names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names
