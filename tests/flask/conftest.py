"""Applications with the adapter, and without whatever the environment says of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from flask import Flask

from commonpool.ext.flask import FlaskCommonPool

with_statements = pytest.mark.skipif(
    find_spec("greenlet") is None, reason="statements are tasks where greenlet is installed"
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("COMMONPOOL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def make_app() -> Callable[..., Flask]:
    """Make an application with these settings, and with the adapter."""

    def make(copy_g: tuple[str, ...] = (), **config: Any) -> Flask:
        app = Flask("tests.flask")
        app.config.update(SECRET_KEY="for sessions", **config)
        FlaskCommonPool(app, copy_g=copy_g)
        return app

    return make


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def visit() -> Callable[..., Any]:
    """Have an application run a function as its view; what the function returned."""

    def visit(app: Flask, view: Callable[[], Any], path: str = "/", **request: Any) -> Any:
        seen = []

        def answer() -> str:
            seen.append(view())
            return "done"

        app.add_url_rule("/", view_func=answer, methods=["GET", "POST"])
        response = app.test_client().open(path, **request)
        assert (response.status_code, response.text) == (200, "done")
        return seen[0]

    return visit
