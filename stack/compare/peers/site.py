"""What the peers on Flask have in common: the application, and its way to the database."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Select, event

from stack.compare.budget import Budget
from stack.compare.peers.queries import queries, query

db = SQLAlchemy()


def create_site() -> Flask:
    """Return the application with its first route; the peer adds the other.

    ``DATABASE_URL`` names the database, and the variables of `Budget` how much of it there is.
    """
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = Budget.from_environ(os.environ).pool
    db.init_app(app)
    with app.app_context():
        if db.engine.name == "sqlite":
            event.listen(db.engine, "connect", _teach_sleep)

    @app.before_request
    def load_user() -> None:
        if "user" in request.args:
            db.session.scalar(query(0, wanted_seconds()))

    @app.get("/one")
    def one() -> dict[str, Any]:
        return {"results": [db.session.scalar(query(0, wanted_seconds()))]}

    return app


def wanted() -> list[Select[Any]]:
    """The queries that the request asks for."""
    return queries(request.args.get("count", 1, type=int), wanted_seconds())


def wanted_seconds() -> float:
    """How long each of them is to take."""
    return request.args.get("seconds", 0.0, type=float)


def in_app_context(app: Flask, statement: Select[Any]) -> Any:
    """Run a query on another thread, where Flask-SQLAlchemy needs an app context for a session."""
    with app.app_context():
        return db.session.scalar(statement)


def _teach_sleep(connection: Any, _record: object) -> None:
    def sleep(seconds: float) -> int:
        time.sleep(seconds)
        return 0  # what MariaDB's SLEEP() returns

    connection.create_function("sleep", 1, sleep)
