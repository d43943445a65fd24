"""Nothing of this machine's environment counts."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in {
            "DATABASE_URL",
            "PORT",
            "COLUMNS",
            "NO_COLOR",
            "FORCE_COLOR",
            "FLASK_DEBUG",
        } or (name.startswith(("STACK_", "COMMONPOOL_", "UWSGI_", "MARIADB_"))):
            monkeypatch.delenv(name)
