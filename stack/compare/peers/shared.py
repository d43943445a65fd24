"""One pool for the process, bare: as many threads as there are connections for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flask import Flask

from stack.compare.budget import Budget
from stack.compare.peers.site import create_site, in_app_context, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()
    executor = ThreadPoolExecutor(max_workers=Budget.from_environ(os.environ).connections)

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        return {"results": list(executor.map(partial(in_app_context, app), wanted()))}

    return app
