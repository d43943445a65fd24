"""YAML in which each value knows its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from commonpool.chain.text_files import NotReadError, read_text

_MOST_CHARACTERS = 2_000_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Placed:
    """A value and its line.

    Attributes:
        value: text, a number, yes or no, nothing; a list of `Placed`, or names and a `Placed` each.
        line: from 1.
    """

    value: Any
    line: int

    @property
    def text(self) -> str:
        """As text; of a list or a mapping, none: one that anchors fold up would fill the memory."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        is_scalar = self.value is not None and not isinstance(self.value, dict | list)
        return str(self.value) if is_scalar else ""

    def get(self, *names: str) -> Placed | None:
        """What stands under these names, one within the other; `None` where nothing does."""
        found: Placed | None = self
        for name in names:
            if found is None or not isinstance(found.value, dict):
                return None
            found = found.value.get(name)
        return None if found is None or found.value is None else found

    def items(self) -> Iterator[tuple[str, Placed]]:
        """Of a mapping, its entries; of anything else, none."""
        if isinstance(self.value, dict):
            yield from self.value.items()

    def entries(self) -> Iterator[Placed]:
        """Of a list, its entries; of anything else, none."""
        if isinstance(self.value, list):
            yield from self.value


def read_yaml(file: str, what: str) -> Placed:
    """The first document of a file.

    Anchors and merge keys (``<<``) count; tags that nobody knows do not.

    Raises:
        NotReadError: it cannot be read, or is no YAML.
    """
    text = read_text(file, what)
    if len(text) > _MOST_CHARACTERS:
        raise NotReadError(what, file, 0, f"is too large: {len(text)} characters")
    loader = None
    try:
        loader = _LOADER(text)
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            raise NotReadError(what, file, 0, "is empty")
        return _Builder(loader).build(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = 0 if mark is None else mark.line + 1
        raise NotReadError(what, file, line, f"is no YAML: {problem}") from None
    except (RecursionError, ValueError) as error:
        raise NotReadError(what, file, 0, f"is no YAML: {error}") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Builder:
    """Makes values of nodes; of one that an anchor shares, one."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._built: dict[int, Placed] = {}

    def build(self, node: Any) -> Placed:
        known = self._built.get(id(node))
        if known is not None:
            return known
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Placed] = {}
            placed = self._built[id(node)] = Placed(found, line)
            self._loader.flatten_mapping(node)
            for key, value in node.value:
                found[str(self._scalar(key))] = self.build(value)
            return placed
        if isinstance(node, yaml.SequenceNode):
            entries: list[Placed] = []
            placed = self._built[id(node)] = Placed(entries, line)
            entries += [self.build(one) for one in node.value]
            return placed
        placed = self._built[id(node)] = Placed(self._scalar(node), line)
        return placed

    def _scalar(self, node: Any) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return ""
        try:
            return self._loader.construct_object(node)
        except yaml.YAMLError:
            return node.value  # a tag of somebody's own
