"""register_scoped_session: each task has a session of its own, removed when the task is done."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from commonpool import WrongThread, current_executor, run_in_parallel
from commonpool.ext.sqlalchemy import finding, register_scoped_session, scoped
from commonpool.task import context_providers
from commonpool.testing import inline
from tests.helpers import wait_until
from tests.sqlalchemy import models
from tests.sqlalchemy.models import Item, Order, Tag, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0  # seconds; with a limit of time a caller leaves all tasks to workers


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """Have what a test registers forgotten afterwards."""
    registries: list[list[Any]] = [
        finding.session_providers,
        context_providers,
        scoped._registered,  # noqa: SLF001 (there is no way back)
    ]
    before = [list(registry) for registry in registries]
    yield
    for registry, was in zip(registries, before, strict=True):
        registry[:] = was


@pytest.fixture
def sessions(engine: Engine) -> Iterator[scoped_session[Session]]:
    """A registered session for each thread."""
    sessions = scoped_session(sessionmaker(engine))
    register_scoped_session(sessions)
    yield sessions
    sessions.remove()


def names(sessions: scoped_session[Session]) -> list[str]:
    return list(sessions.scalars(select(Tag.name).order_by(Tag.id)))


TAGS = [row["name"] for row in models.ROWS["tags"]]


def test_tasks_at_the_same_time_have_a_session_and_a_connection_each(
    sessions: scoped_session[Session],
) -> None:
    meeting = threading.Barrier(3, timeout=10)

    def task() -> tuple[int, int]:
        mine = id(sessions()), id(sessions.connection().connection.driver_connection)
        meeting.wait()  # all of them are held
        return mine

    mine = (id(sessions()), id(sessions.connection().connection.driver_connection))
    made, connections = zip(mine, *run_in_parallel([task] * 3), strict=True)
    assert len(set(made)) == len(set(connections)) == 4


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_after_tasks_no_connection_is_checked_out(
    timeout: float | None, sessions: scoped_session[Session], engine: Engine
) -> None:
    for _ in range(3):
        results = run_in_parallel([partial(names, sessions)] * 10, timeout=timeout)
        assert results == [TAGS] * 10
        assert engine.pool.checkedout() == 0


def test_after_tasks_that_the_caller_runs_no_connection_is_checked_out(
    sessions: scoped_session[Session], engine: Engine
) -> None:
    with inline():
        assert run_in_parallel([partial(names, sessions)] * 3) == [TAGS] * 3
    assert engine.pool.checkedout() == 0
    assert not sessions.registry.has()


def test_after_submitted_tasks_no_connection_is_checked_out(
    sessions: scoped_session[Session], engine: Engine
) -> None:
    executor = current_executor()
    futures = [executor.submit(names, sessions) for _ in range(10)]
    assert [future.result() for future in futures] == [TAGS] * 10
    assert engine.pool.checkedout() == 0


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_what_a_failing_task_did_is_rolled_back_and_its_connection_is_back(
    timeout: float | None, sessions: scoped_session[Session], engine: Engine
) -> None:
    def failing() -> None:
        sessions.add(Tag(id=100, name="never committed"))
        sessions.flush()
        raise KeyError("after the flush")

    with pytest.raises(KeyError):
        run_in_parallel([failing], timeout=timeout)
    assert engine.pool.checkedout() == 0
    assert names(sessions) == TAGS


def test_what_a_task_commits_is_there_afterwards(sessions: scoped_session[Session]) -> None:
    def add() -> None:
        sessions.add(Tag(id=100, name="new"))
        sessions.commit()

    run_in_parallel([add])
    assert names(sessions) == [*TAGS, "new"]


@pytest.mark.parametrize("here", [True, False], ids=["callers", "workers"])
def test_the_callers_session_is_the_same_afterwards_with_what_is_pending_in_it(
    sessions: scoped_session[Session], engine: Engine, *, here: bool
) -> None:
    mine, pending = sessions(), Tag(id=100, name="pending")
    sessions.add(pending)

    def task() -> tuple[bool, list[str]]:
        return sessions() is mine, names(sessions)

    if here:
        with inline():
            results = run_in_parallel([task] * 2)
    else:
        results = run_in_parallel([task] * 2, timeout=PATIENCE)
    assert results == [(False, TAGS)] * 2
    assert sessions() is mine
    assert list(mine.new) == [pending]
    assert engine.pool.checkedout() == 0


@pytest.mark.databases("mariadb", "postgresql")
def test_the_callers_open_transaction_goes_on(sessions: scoped_session[Session]) -> None:
    sessions.add(Tag(id=100, name="flushed"))
    sessions.flush()
    with inline():
        assert run_in_parallel([partial(names, sessions)]) == [TAGS]
    assert run_in_parallel([partial(names, sessions)], timeout=PATIENCE) == [TAGS]
    assert names(sessions) == [*TAGS, "flushed"]


def test_statements_that_name_no_session_are_for_the_threads_own(
    sessions: scoped_session[Session], engine: Engine
) -> None:
    users, orders, items, tags = run_in_parallel(
        [
            select(User).where(User.active).order_by(User.id),
            sessions.query(Order).filter_by(open=True).order_by(Order.id),
            sessions.query(Item).count,
            partial(sessions.scalars, select(Tag.name).order_by(Tag.id)),
        ]
    )
    loaded = users.scalars().all()
    assert [user.id for user in loaded] == [
        row["id"] for row in models.ROWS["users"] if row["active"]
    ]
    assert [order.id for order in orders] == list(range(2, models.ORDERS + 1, 2))
    assert (items, tags.all()) == (models.ITEMS, TAGS)
    assert all(found in sessions for found in [*loaded, *orders])
    sessions.remove()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_each_thread_that_asks_has_its_own_session(sessions: scoped_session[Session]) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(4, timeout=10)

    def ask() -> None:
        try:
            together.wait()
            for _ in range(10):
                (result,) = run_in_parallel([select(Tag).order_by(Tag.id)])
                tags = result.scalars().all()
                assert [tag.name for tag in tags] == TAGS
                assert all(tag in sessions for tag in tags)
                sessions.remove()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_the_callers_session_is_not_for_its_tasks(
    timeout: float | None, sessions: scoped_session[Session], engine: Engine, *, begun: bool
) -> None:
    mine = sessions()
    if begun:
        mine.execute(select(1))

    def task() -> Any:
        return mine.execute(select(Tag.id)).all()

    with pytest.raises(WrongThread, match="uses a session that belongs to its caller"):
        run_in_parallel([task], timeout=timeout)
    mine.rollback()
    assert names(sessions) == TAGS
    sessions.remove()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_fan_out_inside_a_task_leaves_the_tasks_session_alone(
    sessions: scoped_session[Session], engine: Engine
) -> None:
    def inner(outer: Session) -> tuple[bool, list[str]]:
        return sessions() is outer, names(sessions)

    def task(number: int) -> Any:
        mine, pending = sessions(), Tag(id=100 + number, name="pending")
        sessions.add(pending)
        with sessions.no_autoflush:
            first, second, statement = run_in_parallel(
                [partial(inner, mine), partial(inner, mine), select(User).where(User.id == 1)]
            )
        user = statement.scalar_one()
        assert user in mine
        assert sessions() is mine
        assert list(mine.new) == [pending]
        return first, second, user.name

    mine = sessions()
    for _ in range(5):
        results = run_in_parallel([partial(task, number) for number in range(4)])
        assert results == [((False, TAGS), (False, TAGS), "User 01")] * 4
    assert sessions() is mine
    sessions.remove()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_scope_that_is_the_same_in_all_threads_is_an_error_in_a_worker(engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(engine), scopefunc=lambda: "everywhere")
    register_scoped_session(sessions)
    mine = sessions()
    with pytest.raises(WrongThread, match="gives 'everywhere' in a worker as in its caller"):
        run_in_parallel([partial(names, sessions)], timeout=PATIENCE)
    assert sessions() is mine
    with inline():  # in the caller it tells the task from its caller nevertheless
        assert run_in_parallel([partial(names, sessions)]) == [TAGS]
    assert sessions() is mine
    sessions.remove()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_scope_that_tells_threads_apart_will_do(engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(engine), scopefunc=threading.get_ident)
    register_scoped_session(sessions)
    mine = sessions()
    for timeout in (None, PATIENCE):
        assert run_in_parallel([partial(names, sessions)] * 5, timeout=timeout) == [TAGS] * 5
    assert sessions() is mine
    (count,) = run_in_parallel([select(func.count()).select_from(Tag)])
    assert count.scalar_one() == len(TAGS)
    sessions.remove()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_of_two_registered_ones_tasks_have_both_and_statements_the_first(
    sessions: scoped_session[Session], make_engine: Callable[..., Engine], engine: Engine
) -> None:
    other = make_engine()
    others = scoped_session(sessionmaker(other))
    register_scoped_session(others)

    def task() -> Any:
        return names(sessions), names(others)

    assert run_in_parallel([task] * 5) == [(TAGS, TAGS)] * 5
    (result,) = run_in_parallel([select(Tag)])
    assert all(tag in sessions for tag in result.scalars())
    sessions.remove()
    others.remove()
    assert engine.pool.checkedout() == other.pool.checkedout() == 0


@pytest.mark.databases("sqlite")
def test_registering_again_changes_nothing(sessions: scoped_session[Session]) -> None:
    providers = list(finding.session_providers), list(context_providers)
    register_scoped_session(sessions)
    assert (finding.session_providers, context_providers) == providers


@pytest.mark.databases("sqlite")
def test_what_is_no_scoped_session_is_refused(session: Session, engine: Engine) -> None:
    for wrong in (session, sessionmaker(engine), engine, None):
        with pytest.raises(TypeError, match="sessions must be a scoped_session"):
            register_scoped_session(wrong)  # type: ignore[arg-type]


@pytest.mark.databases("sqlite")
def test_without_one_a_statement_needs_to_be_told_its_session(engine: Engine) -> None:
    with pytest.raises(TypeError, match=r"(?s)Whose is SELECT .*session=session"):
        run_in_parallel([select(Tag)])
    assert engine.pool.checkedout() == 0
