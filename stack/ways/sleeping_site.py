"""The classic example: a view that sleeps in Python, and one that sleeps in the database.

It is served in processes of their own (`stack.ways.sleepers`), which these variables tell of:
    DATABASE_URL: of MariaDB, with the driver.
    WAYS_CONNECTIONS: how many its pool has; by default what SQLAlchemy takes: 5, and 10 more.
    WAYS_COMMONPOOL: whether it has the middleware.
"""

from __future__ import annotations

import os
import time

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select

db = SQLAlchemy()


def create() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    connections = os.environ.get("WAYS_CONNECTIONS")
    if connections:
        pool = {"pool_size": int(connections), "max_overflow": 0}
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = pool
    db.init_app(app)
    if os.environ.get("WAYS_COMMONPOOL"):
        from commonpool.ext.flask import FlaskCommonPool  # noqa: PLC0415 - the others go without

        FlaskCommonPool(app)

    @app.get("/sleep/python/<float:seconds>")
    def in_python(seconds: float) -> list[int]:
        time.sleep(seconds)
        return [0]

    @app.get("/sleep/sql/<float:seconds>")
    def in_sql(seconds: float) -> list[int]:
        return [db.session.execute(select(func.sleep(seconds))).scalar_one()]

    return app
