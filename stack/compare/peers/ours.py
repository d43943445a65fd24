"""commonpool."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from stack.compare.budget import Budget
from stack.compare.peers.site import create_site, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()
    app.config["COMMONPOOL_MAX_WORKERS"] = Budget.from_environ(os.environ).workers
    FlaskCommonPool(app)

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        return {"results": [result.scalar() for result in run_in_parallel(wanted())]}

    return app
