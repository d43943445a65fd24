"""Greenlets: gunicorn's worker class patches the standard library, PyMySQL then gives way."""

from __future__ import annotations

from typing import Any

import gevent
from flask import Flask

from stack.compare.peers.site import create_site, in_app_context, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        jobs = [gevent.spawn(in_app_context, app, statement) for statement in wanted()]
        gevent.joinall(jobs, raise_error=True)
        return {"results": [job.value for job in jobs]}

    return app
