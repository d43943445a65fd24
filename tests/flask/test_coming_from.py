"""The code of docs/coming-from.md works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from tests.helpers import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"


def code_below(heading: str) -> str:
    """The first block of code below a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1]
    block = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def test_coming_from_flask_executor():
    app = Flask("shop")
    names: dict[str, Any] = {"app": app, "current_app": current_app}
    exec(compile(code_below("Flask-Executor"), str(PAGE), "exec"), names)
    client = app.test_client()
    assert client.post("/orders/7").get_json() == {"order": 7}
    wait_until(lambda: names["executor"].futures.done(7))
    assert client.get("/orders/7").get_json() == {"done": "invoice 7 sent by shop"}
    assert client.get("/orders/7").get_json() == {"state": None}
