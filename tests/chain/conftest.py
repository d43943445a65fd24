"""Real servers for what asks servers, and an environment in which nothing is set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stack.native.errors import NativeError
from stack.native.mariadb import MariaDB, mariadb
from stack.native.postgresql import PostgreSQL, postgresql
from stack.native.servers import run_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "test_database" in item.path.name and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))  # whichever comes first starts a server, too


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith(
            ("STACK_", "COMMONPOOL_", "UWSGI_", "FLASK_", "PYTHONPATH")
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def lay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], Path]:
    """Writes files into a folder, which becomes the working folder."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return write


def _unavailable(error: NativeError) -> None:
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """MariaDB, empty."""
    with run_folder() as folder, run_folder() as run:
        try:
            with mariadb(folder, run) as server:
                yield server
        except NativeError as error:
            _unavailable(error)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """PostgreSQL, empty."""
    if shutil.which("pg_config") is None and not Path("/usr/lib/postgresql").exists():
        pytest.skip("PostgreSQL is not installed")
    with run_folder() as folder, run_folder() as run:
        try:
            with postgresql(folder, run) as server:
                yield server
        except NativeError as error:
            _unavailable(error)
