"""KeptStatements: short statements that their session executes one after another, as one task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.orm import Query, Session

from commonpool.adapters import as_task
from commonpool.ext.sqlalchemy.call import name_of
from commonpool.ext.sqlalchemy.engines import has_idle_connection
from commonpool.ext.sqlalchemy.finding import found_session
from commonpool.ext.sqlalchemy.replicas import may_be_served
from commonpool.ext.sqlalchemy.rows import make_objects
from commonpool.ext.sqlalchemy.sessions import claim, explain_loss, has_connection
from commonpool.ext.sqlalchemy.statement import StatementTask
from commonpool.ext.sqlalchemy.stats import count
from commonpool.ext.sqlalchemy.stopping import end_all
from commonpool.kept_task import KeptTask, keepers
from commonpool.task import FanOut


class KeptStatements(KeptTask):
    """What is asked of a session, one after another, on its own connection.

    Args:
        things: statements, and tasks of what else a session can be asked for.
        fan_out: theirs.
    """

    keeps_statements = True
    session: Session

    def calls(self) -> Iterator[Callable[[], Any]]:
        """Each is asked for."""
        return map(partial, repeat(ask), repeat(self.session), self.things)

    def find_session(self, given: Any) -> bool:
        """Find the session that all are for; whether it is one and the same.

        Args:
            given: whose they are that do not say; `None` to ask for it.

        Raises:
            TypeError: there is no session, or none that can be used.
            WrongThread: it belongs to the caller of the task that this is.
        """
        found: Session | None = None
        some_do_not_say = False
        for thing in self.things:
            own = thing.given_session if isinstance(thing, StatementTask) else None
            if own is None:
                some_do_not_say = True
                continue
            session = found_session(own, thing)
            if found is not None and session is not found:
                return False
            found = session
        if some_do_not_say:
            session = found_session(given, self)
            if found is not None and session is not found:
                return False
            found = session
        assert found is not None  # noqa: S101 - either some say or some do not
        claim(found)
        self.session = found
        return True

    def has_connection(self) -> bool:
        """Whether its session has a connection, or need not wait for one."""
        bind = self.session.bind
        return has_connection(self.session) or bind is None or has_idle_connection(bind.engine)

    @property
    def name(self) -> str:
        """That of what is asked for now."""
        thing = self.thing
        return name_of(thing) if isinstance(thing, Executable) else str(thing.name)

    def run_all(self) -> None:
        """Ask for all, and count it."""
        try:
            super().run_all()
        finally:
            end_all(self)
            count("by_callers", len(self.values))
            del self  # an error's traceback holds this frame

    def explain(self, error: BaseException) -> None:
        """Say so if the session's connection was lost."""
        explain_loss(error, self.session)


def ask(session: Session, thing: Any) -> Any:
    """Ask a session for what a statement gives, or a task for what it gives in that session."""
    if isinstance(thing, Executable):
        return make_objects(session.execute(thing))
    return thing.ask(session)


def keep(things: list[Any], fan_out: FanOut, session: Any) -> KeptStatements | None:
    """What runs things as one, if one session is asked for all of them, and has a connection.

    What a replica may serve is not for the session's own connection, busy as the machine may be.
    """
    asked: list[Any] = []
    for thing in things:
        if isinstance(thing, Executable) and not isinstance(thing, Query):
            asked.append(thing)
            continue
        try:
            task = as_task(thing)
        except TypeError:  # there is more to be said of it where each is a task
            return None
        if not isinstance(task, StatementTask):
            return None
        asked.append(task)
    kept = KeptStatements(asked, fan_out)
    if not kept.find_session(session) or any(may_be_served(one, kept.session) for one in things):
        return None
    return kept if kept.has_connection() else None


def install() -> None:
    """Have short statements kept."""
    keepers.insert(0, keep)
