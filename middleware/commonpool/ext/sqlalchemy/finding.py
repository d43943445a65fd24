"""Which session a statement is for, where nobody has said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from commonpool.task import Task

session_providers: list[Callable[[], Session | None]] = []
"""Asked on the caller's thread, in turn: whose are statements that name no session?"""


def found_session(given: Any, task: Task) -> Session:
    """The session that a statement is for.

    Args:
        given: what was given as such; `None` to ask the providers.
        task: what asks, for errors.

    Raises:
        TypeError: there is none, or it is none that can be used.
    """
    if given is None:
        for provider in session_providers:
            given = provider()
            if given is not None:
                break
        else:
            raise TypeError(
                f"Whose is {task.name}? Pass the session: run_in_parallel([...], session=session); "
                "or submit a method of it: executor.submit(session.execute, statement)."
            )
    session = given() if isinstance(given, scoped_session) else given
    if isinstance(session, AsyncSession | async_scoped_session):
        raise TypeError(
            f"{type(session).__name__} is asynchronous: its statements wait in an event loop, and "
            "need no threads. Give each an AsyncSession of its own, and use asyncio.gather()."
        )
    if isinstance(session, sessionmaker):
        raise TypeError("session= takes a session, not what makes one: call it first")
    if not isinstance(session, Session):
        raise TypeError(f"session= takes a Session or a scoped_session, not {session!r:.60}")
    return session


def check_engine(bind: Any) -> None:
    """Raise `TypeError` for what belongs to an event loop."""
    if bind.dialect.is_async:
        raise TypeError(
            f"{bind.engine!r} is asynchronous: its connections belong to an event loop. Use "
            "AsyncSession and asyncio.gather(), or an engine with a synchronous driver."
        )
