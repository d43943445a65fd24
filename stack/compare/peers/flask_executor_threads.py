"""Flask-Executor, which copies the request's contexts: as many threads as connections."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from flask_executor import Executor

from stack.compare.budget import Budget
from stack.compare.peers.site import create_site, db, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()
    app.config["EXECUTOR_MAX_WORKERS"] = Budget.from_environ(os.environ).connections
    executor = Executor(app)

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        # Not its map(), which fails on Flask 2.2 and later; and the session is asked for in the
        # task, since one that belongs to the request has one connection for all threads.
        futures = [
            executor.submit(lambda statement=statement: db.session.scalar(statement))
            for statement in wanted()
        ]
        return {"results": [future.result() for future in futures]}

    return app
