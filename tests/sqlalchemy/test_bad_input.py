"""What cannot be done is an error that says what to do instead, at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, object_session, sessionmaker

from commonpool import current_executor, run_in_parallel
from commonpool.errors import WrongThread
from commonpool.ext.sqlalchemy import finding
from tests.helpers import wait_until
from tests.sqlalchemy.asking import LIMIT
from tests.sqlalchemy.models import Order, Tag, User

USERS = select(User).order_by(User.id)

of_timeouts = pytest.mark.parametrize(
    "timeout", [None, LIMIT], ids=["by the caller", "by a worker"]
)


@pytest.fixture(autouse=True)
def _no_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "session_providers", [])


# No session, or none that can be used


def test_a_statement_without_a_session_is_nobody_s() -> None:
    with pytest.raises(TypeError, match=r"Whose is SELECT users.*session=session"):
        run_in_parallel([USERS])
    with pytest.raises(TypeError, match=r"executor\.submit\(session\.execute, statement\)"):
        current_executor().submit(USERS)
    with (
        pytest.raises(TypeError, match="Whose is SELECT 1"),
        current_executor().task_group() as group,
    ):
        group.submit(text("SELECT 1"))


def test_nothing_is_run_beside_a_statement_that_is_nobody_s() -> None:
    ran: list[int] = []
    with pytest.raises(TypeError, match="Whose is"):
        run_in_parallel([partial(ran.append, 1), USERS])
    assert ran == []


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (sessionmaker, "call it first"),
        (lambda engine: engine, "not Engine"),
        (lambda _: "session", "not 'session'"),
        (lambda _: 7, "not 7"),
        (lambda _: Session, "not <class"),
        (lambda _: sessionmaker, "not <class"),
        (lambda _: AsyncSession(), r"asyncio\.gather"),
        (
            lambda _: async_scoped_session(async_sessionmaker(), scopefunc=lambda: 1),
            r"asyncio\.gather",
        ),
        (lambda _: async_sessionmaker(), "not async_sessionmaker"),
    ],
)
def test_a_session_of_a_wrong_kind_is_refused(
    engine: Engine, make: Callable[[Engine], Any], says: str
) -> None:
    for things in ([USERS], {"users": USERS}, [lambda: 1, USERS]):
        with pytest.raises(TypeError, match=says):
            run_in_parallel(things, session=make(engine))


@pytest.mark.databases("sqlite")
def test_a_connection_is_no_session(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(TypeError, match="not <sqlalchemy"):
        run_in_parallel([USERS], session=connection)


@pytest.mark.parametrize("name", ["execute", "scalars", "scalar", "get"])
@pytest.mark.usefixtures("coroutines_or_none")
def test_methods_of_an_asynchronous_session_are_refused(name: str) -> None:
    for asynchronous in (
        AsyncSession(),
        async_scoped_session(async_sessionmaker(), scopefunc=lambda: 1),
    ):
        method = getattr(asynchronous, name)
        for thing in (method, partial(method, USERS)):
            with pytest.raises(TypeError, match=r"asyncio\.gather"):
                run_in_parallel([thing])
        with pytest.raises(TypeError, match=r"asyncio\.gather"):
            current_executor().submit(method, USERS)


def test_an_asynchronous_engine_is_refused() -> None:
    engine = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    for session in (Session(engine.sync_engine), AsyncSession(engine).sync_session):
        with pytest.raises(TypeError, match=r"asynchronous.*asyncio\.gather"):
            run_in_parallel([USERS], session=session)
        with pytest.raises(TypeError, match="asynchronous"):
            current_executor().submit(session.execute, USERS).result()


def test_a_session_without_an_engine_is_the_error_that_it_always_is() -> None:
    with Session() as session, pytest.raises(UnboundExecutionError):
        run_in_parallel([USERS], session=session)


def test_a_query_belongs_to_its_own_session(engine: Engine) -> None:
    with Session(engine) as one, Session(engine) as other:
        mine, others = run_in_parallel(
            [select(User).where(User.id == 1), other.query(User).filter_by(id=1)], session=one
        )
        assert object_session(mine.scalar_one()) is one
        assert object_session(others[0]) is other


# What is no task


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    "make",
    [
        lambda s: s.query(User).all(),
        lambda s: s.execute(USERS),
        lambda s: s.scalars(USERS),
        lambda s: s.execute(USERS).mappings(),
        lambda s: s.execute(USERS).first(),
        lambda s: s.get(User, 1),
        lambda _: USERS.subquery(),
        lambda _: User.__table__,
        lambda _: User.id,
        lambda _: "SELECT 1",
        lambda _: None,
    ],
)
def test_what_is_no_query_is_refused(session: Session, make: Callable[[Session], Any]) -> None:
    thing = make(session)
    ran: list[int] = []
    with pytest.raises(TypeError) as caught:
        run_in_parallel([partial(ran.append, 1), USERS, thing], session=session)
    assert any("task 3" in note for note in caught.value.__notes__)
    assert ran == []
    with pytest.raises(TypeError):
        current_executor().submit(thing)


@pytest.mark.databases("sqlite")
def test_a_result_is_told_from_its_query(session: Session) -> None:
    with pytest.raises(TypeError, match="without its brackets"):
        run_in_parallel([session.query(User).all()])
    with pytest.raises(TypeError, match="pass the query"):
        run_in_parallel([session.execute(USERS)])


@pytest.mark.databases("sqlite")
def test_a_statement_does_not_outlive_its_request(session: Session) -> None:
    for thing in (USERS, session.query(User), session.query(User).all, session.query(User).count):
        with pytest.raises(TypeError, match="background"):
            current_executor().background(thing)
    with pytest.raises(TypeError, match="opens a session of its own"):
        current_executor().background(session.execute, USERS)


# The wrong thread


def in_a_thread(fn: Callable[[], Any]) -> Any:
    """What a function returns or raises in a thread of its own."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(fn())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return outcome[0]


def test_a_result_is_made_on_its_session_s_thread_alone(session: Session) -> None:
    for thing in (partial(session.execute, USERS), session.query(User).all):
        future = current_executor().submit(thing)
        error = in_a_thread(future.result)
        assert isinstance(error, WrongThread)
        assert "Call result() there." in str(error)
        error = in_a_thread(future.exception)
        assert isinstance(error, WrongThread)
        assert len(list(future.result())) == 50
        assert len(list(future.result())) in {0, 50}  # a Result is read once


def test_a_result_is_not_made_by_a_task(session: Session) -> None:
    future = current_executor().submit(session.query(User).all)
    with pytest.raises(WrongThread):
        run_in_parallel([future.result], timeout=LIMIT)
    assert len(future.result()) == 50


USES: dict[str, Callable[[Session], Any]] = {
    "execute": lambda s: s.execute(USERS).all(),
    "query": lambda s: s.query(User).all(),
    "count": lambda s: s.query(User).count(),
    "get": lambda s: s.get(Tag, 5),
    "scalar": lambda s: s.scalar(select(func.count()).select_from(User)),
    "text": lambda s: s.execute(text("SELECT 1")),
    "refresh": lambda s: s.refresh(s.info["user"]),
    "lazy load": lambda s: s.info["user"].orders,
    "deferred load": lambda s: s.info["user"].biography,
    "flush": lambda s: (setattr(s.info["user"], "name", "changed"), s.flush()),
    "statements": lambda s: run_in_parallel([USERS, select(Order)], session=s),
    "patient statements": lambda s: run_in_parallel(
        [USERS, select(Order)], session=s, timeout=LIMIT
    ),
    "a submitted query": lambda s: current_executor().submit(s.query(User).all).result(),
}


@of_timeouts
@pytest.mark.parametrize("name", USES)
def test_a_task_that_uses_the_caller_s_session_is_told_how_to_write_it(
    engine: Engine, name: str, timeout: float | None
) -> None:
    use = USES[name]
    with Session(engine) as session:
        session.info["user"] = session.get(User, 3)
        with pytest.raises(WrongThread) as caught:
            run_in_parallel([lambda: use(session)], timeout=timeout)
        assert "run_in_parallel([select(User), ...])" in str(caught.value)
        assert "with Session(engine) as session" in str(caught.value)
        session.rollback()
        assert len(run_in_parallel([USERS], session=session)[0].all()) == 50
    wait_until(lambda: engine.pool.checkedout() == 0)


@of_timeouts
def test_a_task_beside_statements_may_not_use_their_session(
    engine: Engine, timeout: float | None
) -> None:
    with Session(engine) as session:  # which has no connection yet
        for things in (
            [USERS, lambda: session.execute(USERS).all()],
            [lambda: session.execute(USERS).all(), USERS],
        ):
            with pytest.raises(WrongThread):
                run_in_parallel(things, session=session, timeout=timeout)
            session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


@of_timeouts
def test_a_task_that_uses_a_session_of_its_own_may(
    engine: Engine, session: Session, timeout: float | None
) -> None:
    session.get(User, 1)

    def own() -> int:
        with Session(engine) as mine:
            user = mine.get(User, 8)
            assert user is not None
            users, orders = run_in_parallel([USERS, mine.query(Order)], session=mine)
            return len(users.all()) + len(orders) + (1 if user.orders else 0)

    found = run_in_parallel([own, USERS, own], session=session, timeout=timeout)
    assert found[0] == found[2] == 251
    assert len(found[1].all()) == 50


def test_the_error_of_a_session_in_a_task_can_be_kept_apart(session: Session) -> None:
    session.get(User, 1)
    found = run_in_parallel(
        [USERS, lambda: session.query(User).count(), select(Tag)],
        session=session,
        return_exceptions=True,
    )
    assert isinstance(found[1], WrongThread)
    assert [len(found[n].all()) for n in (0, 2)] == [50, 8]
