"""A Flask application with Flask-SQLAlchemy that asks its database while it is loaded.

Settings are variables:
    DATABASE_URL: a database with the tables of `tests.sqlalchemy.models`.
    PROBE_OPTIONS: more of the engine's options, as JSON.
    PROBE_FAN_OUT: the pool is used while the application is loaded, too.
"""

from __future__ import annotations

import json
import os
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, literal, select
from sqlalchemy.orm import selectinload

from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from tests.sqlalchemy.models import Item, Order, User

db = SQLAlchemy()
application = Flask(__name__)
application.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
application.config["SQLALCHEMY_ENGINE_OPTIONS"] = json.loads(os.environ.get("PROBE_OPTIONS", "{}"))
db.init_app(application)
FlaskCommonPool(application)

used: set[int] = set()  # the server's numbers of the connections that this process has touched


def record() -> None:
    """Have every connection noted that is used, tried, or closed."""
    ping: Any = db.engine.dialect.do_ping

    def do_ping(connection: Any) -> Any:
        used.add(connection.thread_id())
        return ping(connection)

    db.engine.dialect.do_ping = do_ping  # type: ignore[method-assign]
    for name in ("checkout", "reset", "close"):
        event.listen(db.engine, name, lambda connection, *_: used.add(connection.thread_id()))


def fan_out(number: int) -> dict[str, Any]:
    """Several statements, some of which have an answer of their own for each number."""
    first, items, second, orders = run_in_parallel(
        [
            select(literal(number)),
            db.session.query(Item).count,
            select(literal(-number)),
            db.session.query(Order).order_by(Order.id),
        ]
    )
    return {
        "numbers": [first.scalar_one(), second.scalar_one()],
        "items": items,
        "orders": [order.id for order in orders],
    }


@application.get("/parallel/<int:number>")
def parallel(number: int) -> dict[str, Any]:
    """A fan-out, and what this process has touched."""
    answer = fan_out(number)
    db.session.close()
    return {**answer, "pid": os.getpid(), "used": list(used), "loaders": loaders}


@application.get("/plain/<int:number>")
def plain(number: int) -> dict[str, Any]:
    """The session alone, and what this process has touched."""
    user = db.session.get(User, number, options=[selectinload(User.orders)])
    mine = None if user is None else [user.name, len(user.orders)]
    asked = db.session.scalar(select(literal(number)))
    db.session.close()
    return {
        "user": mine,
        "numbers": [asked],
        "pid": os.getpid(),
        "used": list(used),
        "loaders": loaders,
    }


with application.app_context():
    record()
    held = [db.engine.connect() for _ in range(5)]
    for connection in held:
        connection.close()  # so many are idle when the master forks
    if os.environ.get("PROBE_FAN_OUT"):
        fan_out(1)
    assert len(db.session.scalars(select(User)).all()) > 0
loaders = {"pid": os.getpid(), "used": sorted(used)}
used.clear()
