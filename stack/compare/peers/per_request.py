"""A pool for each request, as the example in the documentation of `concurrent.futures` has it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flask import Flask

from stack.compare.peers.site import create_site, in_app_context, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        statements = wanted()
        with ThreadPoolExecutor(max_workers=len(statements)) as executor:
            return {"results": list(executor.map(partial(in_app_context, app), statements))}

    return app
