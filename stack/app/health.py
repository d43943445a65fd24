"""``/healthz``: does the database answer?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, current_app
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from stack.app.database import probe_engine
from stack.data.errors import database_message, one_line

if TYPE_CHECKING:
    from flask import Flask

    from stack.app.settings import Settings

health = Blueprint("health", __name__)

PROBE_SECONDS = 2
"""After how long the database counts as down: below what those who ask for health wait."""


def init_app(app: Flask, settings: Settings) -> None:
    """Give ``app`` its probe: an engine that opens nothing until it is asked."""
    app.extensions["stack.probe"] = probe_engine(settings.database_url, seconds=PROBE_SECONDS)
    app.register_blueprint(health)


@health.get("/healthz")
def healthz() -> tuple[dict[str, str], int]:
    """Answer 200 if the database answers, else 503.

    It takes a connection of its own and no thread of the pool: a busy process is healthy.
    """
    try:
        with current_app.extensions["stack.probe"].connect() as connection:
            connection.execute(text("SELECT 1")).all()
    except SQLAlchemyError as error:
        reason = database_message(error) if isinstance(error, DBAPIError) else one_line(error)
        current_app.logger.warning("The database does not answer: %s", reason)
        return {"status": "unavailable", "database": "does not answer"}, 503
    return {"status": "ok", "database": "answers"}, 200
