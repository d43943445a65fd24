"""What expressions in the application's code come to, as far as that can be told by reading."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from commonpool.chain.application_modules import Module, Project
from commonpool.chain.model import Setting

UNKNOWN = object()
"""What cannot be told."""

_MOST_NESTED = 40
_OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda one, others: one in others,
    ast.NotIn: lambda one, others: one not in others,
}
_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "dict": dict,
}
_LARGEST = 10**15


class Values:
    """Tells values of expressions in modules.

    Args:
        project: in which names are looked up.
        environ: what the application finds in `os.environ`.
    """

    def __init__(self, project: Project, environ: Mapping[str, Setting]) -> None:
        self._project = project
        self._environ = environ

    def of(self, node: ast.AST, module: Module, depth: int = 0) -> Any:
        """The value; `UNKNOWN` where it depends on what runs."""
        if depth > _MOST_NESTED:
            return UNKNOWN
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            return UNKNOWN
        try:
            return method(node, module, depth + 1)
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
            return UNKNOWN

    def path_of(self, node: ast.AST, module: Module) -> str:
        """The full name of what a name or attribute stands for: ``sqlalchemy.create_engine``.

        Empty where it is not known.
        """
        if isinstance(node, ast.Name):
            bound = module.names.get(node.id)
            if bound is None:
                return node.id  # a builtin
            if isinstance(bound, tuple):
                return ".".join(bound[1:])
            return f"{module.name}.{node.id}"
        if isinstance(node, ast.Attribute):
            base = self.path_of(node.value, module)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def definition(self, path: str) -> tuple[Module, ast.AST] | None:
        """Where the project defines a full name, through modules that hand it on."""
        for _ in range(_MOST_NESTED):
            base, _, name = path.rpartition(".")
            module = self._project.find(base) or self._project.modules.get(base)
            if module is None:
                return None
            bound = module.names.get(name)
            if bound is None:
                return None
            if not isinstance(bound, tuple):
                return module, bound
            path = ".".join(bound[1:])
        return None

    def _constant(self, node: ast.Constant, _module: Module, _depth: int) -> Any:
        return node.value

    def _name(self, node: ast.Name, module: Module, depth: int) -> Any:
        return self._defined(node, module, depth)

    def _attribute(self, node: ast.Attribute, module: Module, depth: int) -> Any:
        return self._defined(node, module, depth)

    def _defined(self, node: ast.AST, module: Module, depth: int) -> Any:
        found = self.meaning(node, module)
        return UNKNOWN if found is None else self.of(found[1], found[0], depth)

    def meaning(self, node: ast.AST, module: Module) -> tuple[Module, ast.AST] | None:
        """Where a name or attribute gets its meaning: an expression, a function or a class."""
        if isinstance(node, ast.Name):
            bound = module.names.get(node.id)
            if isinstance(bound, ast.AST):
                return module, bound
        return self.definition(self.path_of(node, module))

    def _unaryop(self, node: ast.UnaryOp, module: Module, depth: int) -> Any:
        value = self.of(node.operand, module, depth)
        if value is UNKNOWN:
            return UNKNOWN
        if isinstance(node.op, ast.USub):
            return -value
        return not value if isinstance(node.op, ast.Not) else UNKNOWN

    def _binop(self, node: ast.BinOp, module: Module, depth: int) -> Any:
        left, right = self.of(node.left, module, depth), self.of(node.right, module, depth)
        operation = _OPERATIONS.get(type(node.op))
        if UNKNOWN in (left, right) or operation is None:
            return UNKNOWN
        if isinstance(node.op, ast.Mult) and not (_is_small(left) and _is_small(right)):
            return UNKNOWN
        return operation(left, right)

    def _compare(self, node: ast.Compare, module: Module, depth: int) -> Any:
        left, right = self.of(node.left, module, depth), self.of(node.comparators[0], module, depth)
        comparison = _COMPARISONS.get(type(node.ops[0]))
        if len(node.ops) > 1 or comparison is None or UNKNOWN in (left, right):
            return UNKNOWN
        if isinstance(right, list | tuple | dict) and UNKNOWN in right:
            return UNKNOWN
        return comparison(left, right)

    def _boolop(self, node: ast.BoolOp, module: Module, depth: int) -> Any:
        value: Any = UNKNOWN
        for part in node.values:
            value = self.of(part, module, depth)
            if value is UNKNOWN or bool(value) == isinstance(node.op, ast.Or):
                break
        return value

    def _ifexp(self, node: ast.IfExp, module: Module, depth: int) -> Any:
        test = self.of(node.test, module, depth)
        if test is not UNKNOWN:
            return self.of(node.body if test else node.orelse, module, depth)
        branches = [self.of(branch, module, depth) for branch in (node.body, node.orelse)]
        if all(isinstance(branch, dict) for branch in branches):
            return max(branches, key=len)  # what is said of a special case is that nothing is said
        return UNKNOWN

    def _joinedstr(self, node: ast.JoinedStr, module: Module, depth: int) -> Any:
        parts = [self.of(part, module, depth) for part in node.values]
        return UNKNOWN if UNKNOWN in parts else "".join(map(str, parts))

    def _formattedvalue(self, node: ast.FormattedValue, module: Module, depth: int) -> Any:
        return UNKNOWN if node.format_spec else self.of(node.value, module, depth)

    def _dict(self, node: ast.Dict, module: Module, depth: int) -> Any:
        found: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            content = self.of(value, module, depth)
            if key is None:
                if not isinstance(content, dict):
                    found[UNKNOWN] = UNKNOWN  # there may be any key
                else:
                    found |= content
            else:
                found[self.of(key, module, depth)] = content
        return found

    def _tuple(self, node: ast.Tuple, module: Module, depth: int) -> Any:
        return tuple(self.of(part, module, depth) for part in node.elts)

    def _list(self, node: ast.List, module: Module, depth: int) -> Any:
        return [self.of(part, module, depth) for part in node.elts]

    def _subscript(self, node: ast.Subscript, module: Module, depth: int) -> Any:
        key = self.of(node.slice, module, depth)
        if self.path_of(node.value, module) == "os.environ":
            return self._variable(key)
        container = self.of(node.value, module, depth)
        return container[key] if isinstance(container, dict | list | tuple) else UNKNOWN

    def _call(self, node: ast.Call, module: Module, depth: int) -> Any:
        path = self.path_of(node.func, module)
        arguments = [self.of(argument, module, depth) for argument in node.args]
        if path in ("os.environ.get", "os.getenv"):
            default = arguments[1] if len(arguments) > 1 else None
            for keyword in node.keywords:
                if keyword.arg == "default":
                    default = self.of(keyword.value, module, depth)
            return self._variable(arguments[0], default)
        if path == "dict" and not arguments:
            return {keyword.arg: self.of(keyword.value, module, depth) for keyword in node.keywords}
        conversion = _CONVERSIONS.get(path)
        if conversion is None or len(arguments) != 1 or arguments[0] is UNKNOWN:
            return UNKNOWN
        return conversion(arguments[0])

    def _variable(self, name: object, default: object = UNKNOWN) -> Any:
        found = self._environ.get(str(name)) if isinstance(name, str) else None
        return default if found is None else str(found.value)


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < _LARGEST
