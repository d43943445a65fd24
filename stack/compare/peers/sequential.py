"""The view as everybody writes it first: one query after another."""

from __future__ import annotations

from typing import Any

from flask import Flask

from stack.compare.peers.site import create_site, db, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        return {"results": [db.session.scalar(statement) for statement in wanted()]}

    return app
