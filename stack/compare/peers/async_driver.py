"""An event loop for each request, and a driver that is made for one.

A pool of connections cannot outlive the event loop that they were opened in. SQLAlchemy's
documentation ("Using multiple asyncio event loops") says what to do: `NullPool`. So each query
opens a connection of its own, and what keeps to the budget is the number of request threads.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from flask import Flask
from sqlalchemy import NullPool, Select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from stack.compare.peers.queries import query
from stack.compare.peers.site import wanted, wanted_seconds


def create() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=NullPool)
    session_of = async_sessionmaker(engine)

    async def run(statement: Select[Any]) -> Any:
        async with session_of() as session:
            return await session.scalar(statement)

    async def gather(statements: list[Select[Any]]) -> list[Any]:
        return await asyncio.gather(*map(run, statements))

    @app.get("/one")
    def one() -> dict[str, Any]:
        return {"results": [asyncio.run(run(query(0, wanted_seconds())))]}

    @app.get("/queries")
    def queries() -> dict[str, Any]:
        return {"results": asyncio.run(gather(wanted()))}

    return app
