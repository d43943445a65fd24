"""The reference application, and beside it the same request as its peers would serve it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flask import Blueprint, Flask, abort, current_app, request
from sqlalchemy import func, select

from commonpool import run_in_parallel
from stack.app import create_app
from stack.app.database import db
from stack.app.parameters import count_parameter, seconds_parameter

Tasks = list[Callable[[], Any]]

peers = Blueprint("peers", __name__, url_prefix="/bench")

# As large as the pool that uwsgi.ini gives commonpool. It is made in the worker process: uwsgi.ini
# says lazy-apps.
bare = ThreadPoolExecutor(24)


def query(seconds: float) -> Any:
    """One query that takes this long."""
    return db.session.execute(select(func.sleep(seconds))).scalar()


def in_app_context(app: Flask, task: Callable[[], Any]) -> Any:
    """What a task on a thread has to be wrapped in, to have a session of its own."""
    with app.app_context():
        return task()


def with_executor(executor: ThreadPoolExecutor, tasks: Tasks) -> list[Any]:
    """Submit all, then wait for all."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug documents it
    futures = [executor.submit(in_app_context, app, task) for task in tasks]
    return [future.result() for future in futures]


def per_request(tasks: Tasks) -> list[Any]:
    """A pool for this request alone."""
    with ThreadPoolExecutor(len(tasks)) as executor:
        return with_executor(executor, tasks)


WAYS: dict[str, Callable[[Tasks], list[Any]]] = {
    "sequential": lambda tasks: [task() for task in tasks],
    "bare": lambda tasks: with_executor(bare, tasks),
    "per-request": per_request,
    "commonpool": run_in_parallel,
}


@peers.get("/sleep")
def sleep() -> dict[str, Any]:
    """Run ``queries`` queries of ``seconds`` each, in the ``way`` named."""
    way = WAYS.get(request.args.get("way", ""))
    if way is None:
        abort(400, f"way is one of {', '.join(WAYS)}")
    seconds = seconds_parameter("seconds", default=0.1, most=1)
    queries = count_parameter("queries", default=1, most=10)
    return {"results": way([partial(query, seconds)] * queries)}


application = create_app()
application.register_blueprint(peers)
