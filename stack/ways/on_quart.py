"""The view that calls two APIs, in Quart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
from quart import Quart, request

from stack.ways.serving import PATIENCE


def create(api: str) -> Quart:
    """Return the application.

    Args:
        api: where the APIs are.
    """
    app = Quart(__name__)
    client = httpx.AsyncClient(base_url=api, timeout=PATIENCE, trust_env=False)

    async def close() -> AsyncGenerator[None]:
        yield
        await client.aclose()

    async def view() -> list[int]:
        seconds = request.args.getlist("seconds")
        calls = (client.get("/", params={"seconds": s}) for s in seconds)
        return [response.json() for response in await asyncio.gather(*calls)]

    app.while_serving(close)
    app.add_url_rule("/", view_func=view)
    return app
