"""One stack for the tests that only look at it; the others make their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from stack.native.ports import free_port
from tests.compose.engine import APPLICATION, MINUTES, NGINX, Stack, docker, engine_is_there

LIMIT = 15 * MINUTES  # whichever test comes first builds the images, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "compose" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))
    # The swarm last: it is the engine's, not a container's.
    items.sort(key=lambda item: item.path.name == "test_swarm.py")


@pytest.fixture(scope="session")
def images() -> Iterator[None]:
    """The two images, built of what is in this folder."""
    missing = engine_is_there()
    if missing:
        pytest.skip(f"no Docker Engine with Compose: {missing}")
    builder = Stack("commonpool-test-build", free_port())
    builder.compose("build", limit=15 * MINUTES)
    yield
    docker("image", "rm", "--force", APPLICATION, NGINX)


@contextmanager
def running(
    *arguments: str, settings: dict[str, str] | None = None, **options: object
) -> Iterator[Stack]:
    """A stack of one's own, with data of its own; nothing of it is left."""
    port = free_port()
    stack = Stack(f"commonpool-test-{os.getpid()}-{port}", port, settings, **options)  # type: ignore[arg-type]
    try:
        stack.up(*arguments)
        yield stack
    finally:
        stack.down("--volumes")


@pytest.fixture(scope="session")
def stack(images: None) -> Iterator[Stack]:  # noqa: ARG001 (what it is made of)
    """A stack with the settings of .env.example. Not to be changed."""
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def _own(images: None) -> Iterator[Stack]:  # noqa: ARG001 (the same)
    with running() as started:
        yield started


@pytest.fixture
def own_stack(_own: Stack) -> Stack:
    """One for the tests of a module, to be changed: well, and with one replica, at the start."""
    _own.up("--scale", "app=1")
    return _own


@pytest.fixture
def make_stack(images: None) -> Iterator[Callable[..., Stack]]:  # noqa: ARG001 (the same)
    """Makes a stack of one's own; it ends with the test."""
    with ExitStack() as stacks:
        yield lambda *arguments, **options: stacks.enter_context(running(*arguments, **options))


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """Asks nginx."""
    with httpx.Client(base_url=stack.url, trust_env=False, timeout=60) as asking:
        yield asking
