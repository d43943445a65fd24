"""Objects belong to the caller's session: its identity map, its transaction, its life."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, select, text, update
from sqlalchemy.orm import Session, make_transient, object_session, scoped_session, sessionmaker
from sqlalchemy.orm.exc import DetachedInstanceError, ObjectDeletedError

from commonpool import current_executor, run_in_parallel
from commonpool.ext.sqlalchemy import stats
from tests.helpers import wait_until
from tests.sqlalchemy.asking import LIMIT, WAYS
from tests.sqlalchemy.models import Item, Order, Tag, User

Way = Callable[[Any, Session], Any]

of_ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
of_timeouts = pytest.mark.parametrize("timeout", [None, LIMIT])

USERS = select(User).order_by(User.id)
ORDERS = select(Order).order_by(Order.id)


def somebody_else_renames(engine: Engine, number: int, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(User).where(User.id == number).values(name=name))


@of_ways
def test_an_object_that_the_session_has_is_that_object(session: Session, way: Way) -> None:
    mine = session.get(User, 7)
    users = way(USERS, session).scalars().all()
    assert users[6] is mine
    assert users[7] is session.get(User, 8)
    assert way(session.query(User).filter_by(id=7).one, session) is mine
    assert way(session.query(User).filter_by(id=7), session) == [mine]


@of_timeouts
def test_the_same_row_is_the_same_object_in_all_results(
    session: Session, timeout: float | None
) -> None:
    first, second, orders, users = run_in_parallel(
        [USERS, USERS, ORDERS, session.query(User).order_by(User.id)],
        session=session,
        timeout=timeout,
    )
    ones, others = first.scalars().all(), second.scalars().all()
    assert all(one is other for one, other in zip(ones, others, strict=True))
    assert all(one is other for one, other in zip(ones, users, strict=True))
    for order in orders.scalars():
        assert order.user is ones[order.user_id - 1]


@of_ways
def test_objects_belong_to_the_session_and_load_what_they_lack(session: Session, way: Way) -> None:
    users = way(USERS, session).scalars().all()
    assert all(object_session(user) is session for user in users)
    assert all(user in session and inspect(user).persistent for user in users)
    before = stats()
    assert [order.user_id for order in users[7].orders] == [8] * len(users[7].orders)
    assert users[7].orders
    assert users[7].orders[0].items[0].order is users[7].orders[0]
    assert users[4].biography.startswith("The life of user 5")
    assert stats() == before  # which is the session's own affair


@of_ways
def test_nothing_of_a_worker_is_left(session: Session, engine: Engine, way: Way) -> None:
    session.connection()
    assert engine.pool.checkedout() == 1
    users = way(USERS, session).scalars().all()
    wait_until(lambda: engine.pool.checkedout() == 1)
    session.close()
    wait_until(lambda: engine.pool.checkedout() == 0)
    assert len(users) == 50
    assert not any(user in session for user in users)
    assert all(object_session(user) is None for user in users)


def test_objects_and_their_session_can_be_forgotten(engine: Engine) -> None:
    session = Session(engine)
    users = run_in_parallel([USERS, ORDERS], session=session)[0].scalars().all()
    current_executor().submit(session.query(Tag).all).result()
    about = [weakref.ref(session), weakref.ref(users[0]), weakref.ref(users[49])]
    session.close()
    del session, users
    wait_until(lambda: gc.collect() is not None and not any(ref() for ref in about))
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_changed_object_keeps_its_change(session: Session) -> None:
    user = session.get(User, 3)
    assert user is not None
    with session.no_autoflush:
        user.name = "changed"
        found = run_in_parallel([USERS, ORDERS], session=session)[0].scalars().all()
        assert found[2] is user
        assert user.name == "changed"
        assert user in session.dirty
    session.rollback()
    assert user.name == "User 03"


@of_ways
def test_what_somebody_else_has_changed_does_not_replace_what_is_loaded(
    session: Session, engine: Engine, way: Way
) -> None:
    user = session.get(User, 3)
    assert user is not None
    session.commit()  # so that no database keeps the other's statement waiting
    assert user.name == "User 03"
    session.commit()
    name = user.name
    session.commit()
    somebody_else_renames(engine, 3, "Somebody else's")
    assert name == "User 03"
    assert way(USERS, session).scalars().all()[2].name == "Somebody else's"  # it had expired


@of_ways
def test_populate_existing_replaces_what_is_loaded(engine: Engine, way: Way) -> None:
    with Session(engine, expire_on_commit=False) as session:
        user = session.get(User, 3)
        assert user is not None
        session.commit()
        somebody_else_renames(engine, 3, "Somebody else's")
        assert way(USERS, session).scalars().all()[2] is user
        assert user.name == "User 03"
        way(USERS.execution_options(populate_existing=True), session)
        assert user.name == "Somebody else's"


@of_ways
def test_what_has_expired_is_loaded_again(session: Session, way: Way) -> None:
    user = session.get(User, 3)
    assert user is not None
    session.expire(user)
    assert "name" in inspect(user).unloaded
    assert way(USERS, session).scalars().all()[2] is user
    assert "name" not in inspect(user).unloaded
    session.refresh(user)
    assert user.name == "User 03"
    session.expire_all()
    assert user.orders is not None


@of_ways
@pytest.mark.parametrize("expires", [True, False])
def test_expire_on_commit_is_the_session_s(engine: Engine, way: Way, *, expires: bool) -> None:
    with Session(engine, expire_on_commit=expires) as session:
        users = way(USERS, session).scalars().all()
        session.commit()
        assert ("name" in inspect(users[0]).unloaded) is expires
        assert users[0].name == "User 01"


@of_ways
def test_the_session_is_in_a_transaction_as_always(session: Session, way: Way) -> None:
    assert not session.in_transaction()
    way(USERS, session)
    assert session.in_transaction()
    assert not session.in_nested_transaction()
    assert session.get_transaction() is not None
    assert session.is_active
    session.rollback()
    assert not session.in_transaction()


ENDS: dict[str, Callable[[Session], Any]] = {
    "commit": Session.commit,
    "rollback": Session.rollback,
    "close": Session.close,
    "reset": lambda session: getattr(session, "reset", session.close)(),
    "invalidate": Session.invalidate,
    "expunge_all": Session.expunge_all,
}


@pytest.mark.parametrize("name", ENDS)
def test_a_session_ends_its_transaction_as_always_and_goes_on(engine: Engine, name: str) -> None:
    end = ENDS[name]
    session = Session(engine)
    for _ in range(2):
        for way in WAYS:
            assert len(way(USERS, session).all()) == 50
            end(session)
            assert len(session.execute(ORDERS).all()) == 200
            end(session)
            end(session)
    session.close()
    wait_until(lambda: engine.pool.checkedout() == 0)


@of_ways
def test_a_change_after_it_is_committed(engine: Engine, way: Way) -> None:
    with Session(engine) as session:
        users = way(USERS, session).scalars().all()
        users[0].name = "changed"
        session.add(Tag(id=99, name="new"))
        session.flush()
        session.commit()
        assert way(USERS, session).scalars().all()[0].name == "changed"
        session.delete(session.get(Tag, 99))
        session.commit()
    with Session(engine) as session:
        assert session.get(User, 1).name == "changed"  # type: ignore[union-attr]
        assert session.get(Tag, 99) is None


@of_ways
def test_a_change_after_it_is_rolled_back(session: Session, way: Way) -> None:
    users = way(USERS, session).scalars().all()
    users[0].name = "changed"
    session.flush()
    session.rollback()
    assert users[0].name == "User 01"
    assert way(USERS, session).scalars().all()[0] is users[0]


def test_results_that_are_made_outlive_their_transaction(session: Session) -> None:
    result, rows = run_in_parallel([USERS, select(User.id, User.name)], session=session)
    future = current_executor().submit(session.query(Tag.name).order_by(Tag.id).all)
    session.commit()
    assert len(rows.all()) == 50
    assert result.scalars().all()[4].name == "User 05"
    assert future.result()[0] == ("Tag 1",)


def test_a_future_makes_its_objects_in_the_session_as_it_is_then(
    session: Session, engine: Engine
) -> None:
    future = current_executor().submit(session.execute, USERS)
    mine = session.get(User, 7)
    assert future.result().scalars().all()[6] is mine
    futures = [current_executor().submit(session.execute, USERS) for _ in range(4)]
    session.close()
    users = [future.result().scalars().all() for future in futures]
    assert all(object_session(user) is session for users in users for user in users)
    session.close()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_future_that_nobody_asks_for_its_result_leaves_nothing(
    session: Session, engine: Engine
) -> None:
    for _ in range(20):
        current_executor().submit(session.execute, USERS)
    with current_executor():
        pass
    session.close()
    wait_until(lambda: engine.pool.checkedout() == 0)
    assert len(run_in_parallel([USERS], session=session)[0].all()) == 50


def test_nothing_is_asked_in_a_closed_session_for_a_future_that_is_gone(
    session: Session, engine: Engine
) -> None:
    for _ in range(20):
        current_executor().submit(session.execute, USERS)
    session.close()
    with current_executor():
        pass
    try:
        assert not session.in_transaction()
    finally:
        session.close()
    wait_until(lambda: engine.pool.checkedout() == 0)


@pytest.mark.parametrize("fails", [True, False])
def test_a_result_is_its_own_when_another_thread_lets_go_of_a_future_meanwhile(
    session: Session, *, fails: bool
) -> None:
    futures = [current_executor().submit(session.execute, USERS)]
    wait_until(futures[0].done)

    @event.listens_for(session, "do_orm_execute")
    def let_go(_state: object) -> None:
        thread = threading.Thread(target=futures.clear)
        thread.start()
        thread.join()
        if fails:
            raise LookupError("mine")

    if fails:
        with pytest.raises(LookupError, match="mine"):
            run_in_parallel([session.query(User).count], session=session)
    else:
        assert run_in_parallel([session.query(User).count], session=session) == [50]


def test_a_thread_that_has_ended_leaves_its_futures_to_others(engine: Engine) -> None:
    futures = []

    def ask() -> None:
        with Session(engine) as session:
            futures.append(current_executor().submit(session.execute, USERS))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    wait_until(futures[0].done)
    task = weakref.ref(futures[0])
    futures.clear()
    assert task() is None
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_objects_that_the_session_has_let_go_are_new_ones(session: Session) -> None:
    user = session.get(User, 3)
    assert user is not None
    session.expunge(user)
    found = run_in_parallel([USERS, USERS], session=session)[0].scalars().all()
    assert found[2] is not user
    with pytest.raises(DetachedInstanceError):
        _ = user.orders
    make_transient(user)


def test_an_object_whose_row_is_gone_is_missing_as_always(session: Session, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tags (id, name) VALUES (77, 'short-lived')"))
    tags = run_in_parallel([select(Tag).order_by(Tag.id)], session=session)[0].scalars().all()
    assert tags[-1].id == 77
    session.commit()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM tags WHERE id = 77"))
    assert len(run_in_parallel([select(Tag)], session=session)[0].all()) == 8
    with pytest.raises(ObjectDeletedError):
        _ = tags[-1].name


def test_a_scoped_session_is_the_session_that_it_stands_for(engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(engine))
    try:
        mine = sessions.get(User, 7)
        (result,) = run_in_parallel([USERS], session=sessions)
        assert result.scalars().all()[6] is mine
        for thing in (sessions.query(User).filter_by(id=7).one, sessions.query(User).all):
            assert mine in [current_executor().submit(thing).result(), *sessions]
        assert current_executor().submit(sessions.get, User, 7).result() is mine
        assert (
            current_executor().submit(sessions.execute, USERS).result().scalars().all()[6] is mine
        )
        assert current_executor().submit(sessions.scalars, USERS).result().all()[6] is mine
        assert object_session(mine) is sessions()
    finally:
        sessions.remove()


def test_events_of_objects_and_session_come_on_the_caller_s_thread_and_once(
    session: Session,
) -> None:
    loaded: list[Any] = []
    event.listen(session, "loaded_as_persistent", lambda _s, item: loaded.append(item.id))
    run_in_parallel([USERS, USERS, select(Order), select(Item)], session=session)[0].all()
    run_in_parallel([USERS], session=session, timeout=LIMIT)[0].all()
    assert len(loaded) >= 50 + 200 + 500
    assert loaded[:50] == list(range(1, 51))


def test_many_threads_each_with_their_session_have_their_own_objects(engine: Engine) -> None:
    def view(number: int) -> bool:
        with Session(engine) as session:
            mine = session.get(User, number)
            results = run_in_parallel([USERS, ORDERS, USERS], session=session)
            users = results[0].scalars().all()
            return (
                users[number - 1] is mine
                and results[2].scalars().all() == users
                and all(object_session(user) is session for user in users)
                and [order.id for order in results[1].scalars()] == list(range(1, 201))
            )

    assert list(current_executor().map(view, range(1, 31))) == [True] * 30
    wait_until(lambda: engine.pool.checkedout() == 0)
