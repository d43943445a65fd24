"""Thread-local sessions: each task has one of its own, which is removed when it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import ThreadLocalRegistry

from commonpool.errors import WrongThread
from commonpool.ext.sqlalchemy.finding import session_providers
from commonpool.ext.sqlalchemy.sessions import claim
from commonpool.task import ContextRunner, context_providers


def register_scoped_session(sessions: scoped_session[Any]) -> None:
    """Give every task a session of its own in a thread-local `scoped_session`, and remove it after.

    A task that its caller runs leaves the caller's session as it was. Statements that name no
    session are for the one of the thread that submits them. (Flask-SQLAlchemy's needs no
    registering: it is that of an app context, and a task has its own.)

    Args:
        sessions: made by ``scoped_session(factory)``, or with a `scopefunc` that tells threads
            apart. Registering it again changes nothing.

    Raises:
        TypeError: it is not a `scoped_session`.
    """
    if not isinstance(sessions, scoped_session):
        raise TypeError(f"sessions must be a scoped_session, not {sessions!r:.60}")
    if any(known.sessions is sessions for known in _registered):
        return
    known = Registered(sessions)
    _registered.append(known)
    session_providers.append(known.current)
    context_providers.append(known.provide)


class Registered:
    """A scoped session whose tasks have sessions of their own."""

    def __init__(self, sessions: scoped_session[Any]) -> None:
        self.sessions = sessions

    def current(self) -> Session:
        """The session of this thread."""
        session: Session = self.sessions()
        return session

    def provide(self) -> ContextRunner:
        """What the callables of a fan-out run in that is made here."""
        registry = self.sessions.registry
        if registry.has():
            claim(registry())
        thread = threading.get_ident()
        scope = None if isinstance(registry, ThreadLocalRegistry) else registry.scopefunc()

        def run(fn: Callable[[], Any]) -> Any:
            if (
                scope is not None
                and threading.get_ident() != thread
                and registry.scopefunc() == scope
            ):
                raise WrongThread(
                    f"The scopefunc of a registered scoped_session gives {scope!r:.40} in a worker "
                    "as in its caller, so that they would share one session. Use "
                    "scoped_session(factory) without a scopefunc, or one that tells threads apart."
                )
            callers = registry() if registry.has() else None
            registry.clear()
            try:
                return fn()
            finally:
                self.sessions.remove()
                if callers is not None:
                    registry.set(callers)

        return run


_registered: list[Registered] = []
