"""Servers for tests: started with the probe, ended with the test."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.running import Kind, Running, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 120  # seconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "servers" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a server with the probe in it, with more variables."""
    with ExitStack() as stack:

        def start_one(kind: Kind, **variables: str) -> Running:
            return stack.enter_context(run(kind, tmp_path, **variables))

        yield start_one
