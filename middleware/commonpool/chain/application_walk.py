"""What of the application's code runs when it is imported: module by module, call by call."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from commonpool.chain.application_modules import (
    Module,
    Project,
    base_of,
    blocks_of,
    bound_by,
)
from commonpool.chain.application_values import UNKNOWN, Values

_MOST_FUNCTIONS = 5_000
_MOST_NESTED = 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Reached:
    """A piece of code that runs when the application is imported.

    Attributes:
        module: in which it stands, with the names that it has there.
        node: the statement or expression.
        is_sure: it does; else that hangs on a condition of which reading does not tell the outcome.
    """

    module: Module
    node: ast.AST
    is_sure: bool = True


class Walk:
    """Follows imports and calls of the project's own functions, from one module on.

    Calls of methods on objects are not followed, since it takes running to know whose they are; nor
    is what stands under ``if __name__ == "__main__"``.

    Args:
        project: whose modules are followed.
        values: to find what is called.
    """

    def __init__(self, project: Project, values: Values) -> None:
        self._project = project
        self._values = values
        self._modules: set[str] = set()
        self._functions: set[int] = set()
        self._depth = 0
        self._conditions = 0  # that are open, around what is walked

    def start(self, module: Module) -> Iterator[Reached]:
        """All that runs when the module is imported."""
        if module.name in self._modules or self._depth >= _MOST_NESTED:
            return
        self._modules.add(module.name)
        yield from self._deeper(module.tree.body, module)

    def _deeper(self, body: Sequence[ast.stmt], module: Module) -> Iterator[Reached]:
        self._depth += 1
        yield from self._body(body, module)
        self._depth -= 1

    def _body(self, body: Sequence[ast.stmt], module: Module) -> Iterator[Reached]:
        for node in body:
            yield from self._statement(node, module)

    def _statement(self, node: ast.stmt, module: Module) -> Iterator[Reached]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from self._imported(node, module)
        elif isinstance(node, Function):
            for decorator in node.decorator_list:
                yield from self._expression(decorator, module)
        elif isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                yield from self._expression(decorator, module)
            yield self._reached(module, node)
            yield from self._body(node.body, module)
        elif isinstance(node, ast.If):
            yield from self._branches(node, module)
        else:
            yield self._reached(module, node)
            for expression in ast.iter_child_nodes(node):
                if isinstance(expression, ast.expr | ast.withitem):
                    yield from self._expression(expression, module)
            for block in blocks_of(node):
                yield from self._body(block, module)

    def _branches(self, node: ast.If, module: Module) -> Iterator[Reached]:
        yield from self._expression(node.test, module)
        test = False if _asks_for_main(node.test) else self._values.of(node.test, module)
        if test is not UNKNOWN:
            yield from self._body(node.body if test else node.orelse, module)
            return
        self._conditions += 1
        yield from self._body(node.body, module)
        yield from self._body(node.orelse, module)
        self._conditions -= 1

    def _reached(self, module: Module, node: ast.AST) -> Reached:
        return Reached(module, node, is_sure=self._conditions == 0)

    def _imported(self, node: ast.Import | ast.ImportFrom, module: Module) -> Iterator[Reached]:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = base_of(module, node)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            for length in range(1, len(parts) + 1):
                whole = ".".join(parts[:length])
                found = self._project.find(whole) if self._project.has(whole) else None
                if found is not None:
                    yield from self.start(found)

    def _expression(self, node: ast.AST, module: Module) -> Iterator[Reached]:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                yield self._reached(module, inner)
                yield from self._called(inner, module)

    def _called(self, call: ast.Call, module: Module) -> Iterator[Reached]:
        found = self._values.meaning(call.func, module)
        if found is None:
            return
        where, definition = found
        if isinstance(definition, ast.ClassDef):
            inits = [
                one
                for one in definition.body
                if isinstance(one, Function) and one.name in ("__init__", "__new__")
            ]
            for function in inits:
                yield from self._function(function, where)
        elif isinstance(definition, Function):
            yield from self._function(definition, where)

    def _function(self, function: Function, module: Module) -> Iterator[Reached]:
        is_enough = len(self._functions) > _MOST_FUNCTIONS or self._depth >= _MOST_NESTED
        if id(function) in self._functions or is_enough:
            return
        self._functions.add(id(function))
        yield from self._deeper(function.body, inside(module, function))


def inside(module: Module, function: Function) -> Module:
    """The module as a function sees it: with the names that the function binds."""
    names = dict(module.names)
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        names[argument.arg] = argument
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and node is not function:
            names.update(bound_by(module, node))
    return Module(module.name, module.path, module.tree, names, module.imports)


def _asks_for_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))
