"""The code of docs/coming-from.md works."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from flask import Flask, current_app, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import literal, select

from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from tests.flask.conftest import with_statements
from tests.helpers import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"


def code_below(heading: str) -> list[str]:
    """The blocks of code below a heading of the page, but for those that show what was before."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert blocks
    return [
        block for block in blocks if not block.startswith("# before") or "import Executor" in block
    ]


def run(heading: str, **names: Any) -> dict[str, Any]:
    """Run the code below a heading, with these names; and with what it has defined."""
    names |= {"current_app": current_app, "partial": partial, "run_in_parallel": run_in_parallel}
    for block in code_below(heading):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_coming_from_flask_executor():
    app = Flask("shop")
    names = run("Flask-Executor", app=app)
    client = app.test_client()
    assert client.post("/orders/7").get_json() == {"order": 7}
    wait_until(lambda: names["executor"].futures.done(7))
    assert client.get("/orders/7").get_json() == {"done": "invoice 7 sent by shop"}
    assert client.get("/orders/7").get_json() == {"state": None}


def test_coming_from_a_global_executor():
    app = Flask("shop")
    run(
        "A global executor",
        app=app,
        FlaskCommonPool=FlaskCommonPool,
        count=lambda table: f"{current_app.name}: {table} at {request.path}",
    )
    answer = app.test_client().get("/dashboard").get_json()
    assert answer == ["shop: users at /dashboard", "shop: orders at /dashboard"]


@with_statements
def test_coming_from_gevent(tmp_path):
    app = Flask("shop")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.db'}"
    db = SQLAlchemy(app)
    run(
        "gevent",
        app=app,
        FlaskCommonPool=FlaskCommonPool,
        statements=lambda: [select(literal(number)) for number in range(3)],
    )
    assert app.test_client().get("/dashboard").get_json() == [[0], [1], [2]]
    with app.app_context():
        db.engine.dispose()


@pytest.mark.usefixtures("coroutines")
@pytest.mark.parametrize("heading", ["asyncio in a view", "Quart"])
def test_coming_from_coroutines(heading):
    app = Flask("shop")
    FlaskCommonPool(app)
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json={"path": request.url.path})
    )
    with mock.patch.object(httpx, "AsyncClient", partial(httpx.AsyncClient, transport=transport)):
        run(
            heading,
            app=app,
            httpx=httpx,
            STOCK="http://shop/stock",
            PRICE="http://shop/price",
            fetch_stock=fetch_stock,
            read_names=lambda name: [name],
        )
    client = app.test_client()
    answer = client.get("/offer").get_json()
    assert answer == {"stock": {"path": "/stock"}, "price": {"path": "/price"}}
    if heading != "Quart":
        assert client.get("/offers").get_json() == {"stock": 3, "names": ["names.txt"]}


async def fetch_stock() -> int:
    return 3
