"""An event loop for each request, and `asyncio.to_thread` for what blocks."""

from __future__ import annotations

import asyncio
from typing import Any

from flask import Flask
from sqlalchemy import Select

from stack.compare.peers.site import create_site, in_app_context, wanted


def create() -> Flask:
    """Return the application."""
    app = create_site()

    async def gather(statements: list[Select[Any]]) -> list[Any]:
        return await asyncio.gather(
            *(asyncio.to_thread(in_app_context, app, statement) for statement in statements)
        )

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        return {"results": asyncio.run(gather(wanted()))}

    return app
