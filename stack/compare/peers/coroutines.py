"""Coroutines from end to end: an ASGI server, Quart, SQLAlchemy's asyncio extension, asyncmy."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from quart import Quart, request
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from stack.compare.budget import Budget
from stack.compare.peers import queries as wanted


def create() -> Quart:
    """Return the application."""
    app = Quart(__name__)
    engine = create_async_engine(os.environ["DATABASE_URL"], **Budget.from_environ(os.environ).pool)
    session_of = async_sessionmaker(engine)

    async def run(statement: Select[Any]) -> Any:
        async with session_of() as session:
            return await session.scalar(statement)

    def seconds() -> float:
        return float(request.args.get("seconds", 0))

    async def one() -> dict[str, Any]:
        return {"results": [await run(wanted.query(0, seconds()))]}

    async def queries() -> dict[str, Any]:
        statements = wanted.queries(int(request.args.get("count", 1)), seconds())
        if "user" not in request.args:
            return {"results": await asyncio.gather(*map(run, statements))}
        async with session_of() as session:
            await session.scalar(wanted.query(0, seconds()))
            return {"results": await asyncio.gather(*map(run, statements))}

    app.add_url_rule("/one", view_func=one)
    app.add_url_rule("/queries", view_func=queries)
    return app
