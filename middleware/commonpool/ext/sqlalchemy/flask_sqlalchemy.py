"""Flask-SQLAlchemy: statements that name no session are for that of the current app context."""

from __future__ import annotations

from typing import Any

from flask import current_app, has_app_context
from sqlalchemy.orm import Session

from commonpool.ext.sqlalchemy.finding import session_providers
from commonpool.ext.sqlalchemy.sessions import claim
from commonpool.task import ContextRunner, context_providers

EXTENSION = "sqlalchemy"  # the name that Flask-SQLAlchemy has in an application


def current_session() -> Session | None:
    """The session of the current app context; `None` where there is none."""
    if not has_app_context():
        return None
    extension: Any = current_app.extensions.get(EXTENSION)
    session = getattr(extension, "session", None)
    return None if session is None else session()


def claim_current_session() -> ContextRunner | None:
    """Keep tasks that are submitted from here from using the session that there is here."""
    if has_app_context():
        extension: Any = current_app.extensions.get(EXTENSION)
        session = getattr(extension, "session", None)
        if session is not None and session.registry.has():
            claim(session())
    return None


# Before a registered `scoped_session`: in an application it is the more particular one.
session_providers.insert(0, current_session)
context_providers.append(claim_current_session)
