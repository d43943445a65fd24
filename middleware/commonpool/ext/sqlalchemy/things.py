"""What the adapter makes tasks of: statements, queries, and methods of queries and sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Query, Session, scoped_session

from commonpool.adapters import as_method_task, as_task, innermost
from commonpool.ext.sqlalchemy.rows import make_objects
from commonpool.ext.sqlalchemy.statement import StatementTask
from commonpool.task import Task

# What of a session asks the database, and returns an answer. Other methods are functions.
ASKING = frozenset({"execute", "scalars", "scalar", "get", "get_one"})


@as_task.register
def _(statement: Executable) -> Task:
    """`Session.execute` of it, objects made."""
    return StatementTask(
        statement,
        lambda session: make_objects(session.execute(statement)),
    )


@as_task.register(Query)
def _(query: Query[Any]) -> Task:
    """`Query.all` of it."""
    return of_query(query, query.all)


@as_method_task.register(Query)
def of_query(query: Query[Any], call: Callable[[], Any]) -> Task:
    """A bound method of a query."""
    return StatementTask(call, lambda _session: call(), session=query.session)


@as_method_task.register(Session)
@as_method_task.register(scoped_session)
def of_session(session: Session | scoped_session[Any], call: Callable[[], Any]) -> Task:
    """A bound method of a session that asks the database."""
    name = getattr(innermost(call), "__name__", "")
    if name not in ASKING:
        raise TypeError(
            f"{name}() of a session is not a question whose rows a worker could wait for. Call it "
            f"where the session is; what may be a task: {', '.join(sorted(ASKING))}."
        )
    if name == "scalars":  # its result hides the one that makes the objects
        ask = partial(execute_scalars, *arguments_of(call))
    elif isinstance(session, scoped_session):  # in another greenlet it may stand for another one
        ask = partial(ask_and_make, name, *arguments_of(call))
    else:
        ask = partial(call_and_make, call)
    return StatementTask(call, ask, session=session)


def arguments_of(call: Callable[[], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that partials give to what they call in the end."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(call, partial):
        args, keywords = (*call.args, *args), {**call.keywords, **keywords}
        call = call.func
    return args, keywords


def execute_scalars(args: tuple[Any, ...], keywords: dict[str, Any], session: Session) -> Any:
    """`Session.scalars`, objects made."""
    return make_objects(session.execute(*args, **keywords)).scalars()


def call_and_make(call: Callable[[], Any], _session: Session) -> Any:
    """A method of a session, objects made."""
    return make_objects(call())


def ask_and_make(
    name: str, args: tuple[Any, ...], keywords: dict[str, Any], session: Session
) -> Any:
    """The method of that name of a session, objects made."""
    return make_objects(getattr(session, name)(*args, **keywords))


@as_method_task.register(AsyncSession)
@as_method_task.register(async_scoped_session)
def _(_session: object, call: Callable[[], Any]) -> Task:
    """Nothing for threads."""
    raise TypeError(
        f"{getattr(innermost(call), '__name__', 'this')} is a method of an asynchronous session: "
        "its statements wait in an event loop, and need no threads. Use asyncio.gather(), with an "
        "AsyncSession for each."
    )
