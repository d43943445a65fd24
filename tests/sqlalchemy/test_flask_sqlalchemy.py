"""Statements and queries in views of a Flask application with Flask-SQLAlchemy."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, func, inspect, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload, with_loader_criteria

from commonpool import WrongThread, current_executor, run_in_parallel, testing
from commonpool.ext.flask import FlaskCommonPool
from commonpool.ext.sqlalchemy import stats
from commonpool.testing import inline
from tests.helpers import wait_until
from tests.sqlalchemy import models
from tests.sqlalchemy.models import ITEMS, ORDERS, ROWS, USERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.sqlalchemy.databases import Database

PATIENCE = 30.0  # seconds; with a limit of time a caller leaves all tasks to workers

db = SQLAlchemy()


class User(db.Model):  # type: ignore[name-defined,misc]
    __table__ = models.User.__table__.to_metadata(db.metadata)
    orders: Mapped[list[Order]] = relationship(back_populates="user", order_by="Order.id")


class Order(db.Model):  # type: ignore[name-defined,misc]
    __table__ = models.Order.__table__.to_metadata(db.metadata)
    user: Mapped[User] = relationship(back_populates="orders")


class Item(db.Model):  # type: ignore[name-defined,misc]
    __table__ = models.Item.__table__.to_metadata(db.metadata)


class Note(db.Model):  # type: ignore[name-defined,misc]
    """It is in another database than the others."""

    __bind_key__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


ACTIVE = [row["name"] for row in ROWS["users"] if row["active"]]
OPEN = [row["id"] for row in ROWS["orders"] if row["open"]]
NAMES = [row["name"] for row in ROWS["users"]]
OF_USER = Counter(row["user_id"] for row in ROWS["orders"])

Visit = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_session_is_left() -> Iterator[None]:
    yield
    assert not db.session.registry.registry


@pytest.fixture
def app(database: Database, tmp_path: Path) -> Iterator[Flask]:
    app = Flask("tests.sqlalchemy")
    app.config.update(
        TESTING=True,
        SQLALCHEMY_DATABASE_URI=database.url,
        SQLALCHEMY_BINDS={"notes": f"sqlite:///{tmp_path / 'notes.db'}"},
    )
    db.init_app(app)
    FlaskCommonPool(app, copy_g=("user",))
    with app.app_context():
        db.create_all("notes")
        db.session.add_all(Note(text=text) for text in "abc")
        db.session.commit()
    yield app
    testing.reset()
    for engine in engines(app):
        engine.dispose()


@pytest.fixture
def visit(app: Flask) -> Visit:
    """Has the application run a function as its view: what it returned, and nothing left behind."""
    seen: list[Any] = []

    @app.get("/")
    def answer() -> str:
        seen.append(g.view())
        return "done"

    def visit(view: Callable[[], Any], status: int = 200) -> Any:
        app.before_request_funcs[None] = [lambda: setattr(g, "view", view)]
        response = app.test_client().get("/")
        assert response.status_code == status
        nothing_is_checked_out(app)
        return seen.pop() if status == 200 else response

    return visit


def engines(app: Flask) -> list[Engine]:
    with app.app_context():
        return list(db.engines.values())


def nothing_is_checked_out(app: Flask) -> None:
    pools = [engine.pool for engine in engines(app)]
    wait_until(lambda: all(pool.checkedout() == 0 for pool in pools))


def test_statements_queries_and_methods_need_no_session_in_a_view(visit: Visit) -> None:
    def view() -> None:
        users, orders, items = run_in_parallel(
            [
                select(User).where(User.active).order_by(User.id),
                db.session.query(Order).filter_by(open=True).order_by(Order.id),
                db.session.query(Item).count,
            ]
        )
        loaded = users.scalars().all()
        assert [user.name for user in loaded] == ACTIVE
        assert [order.id for order in orders] == OPEN
        assert items == ITEMS
        assert all(entity in db.session for entity in (*loaded, *orders))
        assert db.session.get(User, loaded[0].id) is loaded[0]
        assert orders[0].user.name == NAMES[orders[0].user_id - 1]  # loaded now

    at_workers = stats().on_workers
    for _ in range(5):
        visit(view)
    assert stats().on_workers > at_workers


def test_a_dict_in_is_a_dict_out_with_a_limit_of_time_too(visit: Visit) -> None:
    def view() -> Any:
        found = run_in_parallel(
            {"users": select(func.count(User.id)), "items": Item.query.count}, timeout=PATIENCE
        )
        return found["users"].scalar_one(), found["items"]

    assert visit(view) == (USERS, ITEMS)


@pytest.mark.filterwarnings("ignore:The Query.get:sqlalchemy.exc.LegacyAPIWarning")
@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_methods_of_a_models_query_are_tasks(visit: Visit, timeout: float | None) -> None:
    def view() -> None:
        users, page, first, one, by_key, count = run_in_parallel(
            [
                User.query.filter_by(active=True).order_by(User.id).all,
                partial(Order.query.order_by(Order.id).paginate, page=3, per_page=7),
                User.query.filter_by(id=2).first_or_404,
                Item.query.filter_by(id=3).one_or_404,
                partial(User.query.get_or_404, 4),
                Order.query.filter_by(open=True).count,
            ],
            timeout=timeout,
        )
        assert [user.name for user in users] == ACTIVE
        assert [order.id for order in page] == list(range(15, 22))
        assert (page.total, page.pages, page.has_next) == (ORDERS, -(-ORDERS // 7), True)
        assert [order.id for order in page.next()] == list(range(22, 29))
        assert (first.id, one.id, by_key.id) == (2, 3, 4)
        assert count == len(OPEN)
        assert db.session.get(User, 4) is by_key

    visit(view)


def test_a_page_of_the_requests_own_arguments_is_that_page(app: Flask) -> None:
    @app.get("/orders")
    def orders() -> list[int]:
        page, _ = run_in_parallel([Order.query.order_by(Order.id).paginate, Item.query.count])
        return [order.id for order in page]

    response = app.test_client().get("/orders?page=2&per_page=3")
    assert response.json == [4, 5, 6]
    nothing_is_checked_out(app)


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_what_is_not_found_is_answered_with_404(visit: Visit, timeout: float | None) -> None:
    def view() -> None:
        run_in_parallel(
            [Item.query.count, User.query.filter_by(id=0).first_or_404], timeout=timeout
        )

    visit(view, 404)


def test_statements_find_the_database_of_their_bind(visit: Visit) -> None:
    def view() -> None:
        at_workers = stats().on_workers
        notes, users, count, all_notes, mine = run_in_parallel(
            [
                select(Note).order_by(Note.id),
                select(User.name).order_by(User.id),
                Note.query.count,
                db.session.query(Note).order_by(Note.id),
                lambda: db.session.scalar(select(func.count()).select_from(Note)),
            ],
            timeout=PATIENCE,
        )
        assert [note.text for note in notes.scalars()] == ["a", "b", "c"]
        assert users.scalars().all() == NAMES
        assert (count, mine) == (3, 3)
        assert [note.text for note in all_notes] == ["a", "b", "c"]
        assert stats().on_workers > at_workers

    for _ in range(3):
        visit(view)


def test_a_change_in_one_database_is_seen_by_the_queries_after_it(visit: Visit) -> None:
    def view() -> None:
        db.session.add(Note(text="mine"))
        notes, items, beside = run_in_parallel(
            [Note.query.count, Item.query.count, lambda: Note.query.count()]  # noqa: PLW0108
        )
        assert (notes, items) == (4, ITEMS)
        assert beside == 3  # it is not committed

    visit(view)


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_callables_have_sessions_of_their_own_beside_statements(
    visit: Visit, timeout: float | None
) -> None:
    def task(number: int) -> tuple[int, str, int]:
        user = db.session.get(User, number)
        assert user in db.session
        return id(db.session()), user.name, len(user.orders)

    def view() -> None:
        mine = id(db.session())
        user = db.session.get(User, 1)
        results = run_in_parallel(
            [
                partial(task, 1),
                select(User).where(User.id == 1).options(selectinload(User.orders)),
                partial(task, 8),
                Item.query.count,
            ],
            timeout=timeout,
        )
        assert results[1].scalar_one() is user
        assert len(user.orders) == OF_USER[1]
        assert results[3] == ITEMS
        assert [result[1:] for result in results[::2]] == [
            (NAMES[n - 1], OF_USER[n]) for n in (1, 8)
        ]
        assert mine not in {result[0] for result in results[::2]}
        assert id(db.session()) == mine
        assert user in db.session

    for _ in range(3):
        visit(view)


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_statements_see_the_callers_g_and_callables_one_of_their_own(
    visit: Visit, timeout: float | None
) -> None:
    def view() -> None:
        g.tenant = 8

        @event.listens_for(db.session(), "do_orm_execute")
        def _(state: Any) -> None:
            state.statement = state.statement.options(
                with_loader_criteria(Order, Order.user_id == g.tenant)
            )

        def has_one() -> bool:
            there = "tenant" in g
            g.tenant = 1
            return there

        orders, there, count = run_in_parallel(
            [select(Order), has_one, Order.query.count], timeout=timeout
        )
        assert {order.user_id for order in orders.scalars()} == {8}
        assert count == OF_USER[8]
        assert not there
        assert g.tenant == 8

    visit(view)


def test_a_future_gives_the_objects_of_the_views_session(visit: Visit) -> None:
    def view() -> None:
        executor = current_executor()
        users = executor.submit(select(User).order_by(User.id))
        orders = executor.submit(Order.query.filter_by(open=True).order_by(Order.id).all)
        assert [user.name for user in users.result().scalars()] == NAMES
        assert [order.id for order in orders.result()] == OPEN
        assert orders.result()[0] in db.session

    visit(view)


class ViewError(Exception):
    pass


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_after_a_view_that_fails_no_connection_is_checked_out(
    app: Flask, visit: Visit, timeout: float | None
) -> None:
    app.testing = False

    def fails() -> None:
        db.session.get(User, 1)
        raise ViewError

    def view() -> None:
        run_in_parallel([select(User), fails, Order.query, text("SELECT 1")], timeout=timeout)

    visit(view, 500)
    visit(lambda: run_in_parallel([select(User), text("SELECT nothing FROM nowhere")]), 500)


def test_after_a_view_that_forgets_its_futures_no_connection_is_checked_out(visit: Visit) -> None:
    def view() -> None:
        for thing in (select(User), Order.query.all, lambda: db.session.get(User, 1)):
            current_executor().submit(thing)

    for _ in range(5):
        visit(view)


@pytest.mark.databases("sqlite")
def test_without_flask_sqlalchemy_in_the_application_the_error_says_what_to_pass() -> None:
    app = Flask("tests.sqlalchemy")
    app.testing = True
    FlaskCommonPool(app)

    # what Flask-SQLAlchemy does in an application that has it: another app context may have the
    # same id as this one, and would have its session
    app.teardown_appcontext(lambda _: db.session.remove())

    @app.get("/")
    def view() -> str:
        with pytest.raises(TypeError, match=r"Whose is SELECT .*session=session"):
            run_in_parallel([select(User)])
        with pytest.raises(TypeError, match=r"Whose is SELECT .*executor\.submit"):
            current_executor().submit(select(User))
        with pytest.raises(RuntimeError, match="not registered with this 'SQLAlchemy' instance"):
            run_in_parallel([db.session.query(User).all])
        return "done"

    assert app.test_client().get("/").text == "done"


@pytest.mark.databases("sqlite")
def test_outside_an_application_the_error_says_what_to_pass(app: Flask) -> None:
    with pytest.raises(TypeError, match=r"Whose is SELECT .*session=session"):
        run_in_parallel([select(User)])
    with app.app_context():
        (users,) = run_in_parallel([select(User)])
        assert len(users.all()) == USERS
    nothing_is_checked_out(app)


# The origin of all this: three queries of a view, submitted as the answers in the web have it

REQUESTS, CLIENTS = 100, 8


def test_three_submitted_queries_of_100_requests_are_right_300_times_in_300(app: Flask) -> None:
    @app.get("/dashboard")
    def dashboard() -> dict[str, Any]:
        executor = current_executor()
        users = executor.submit(db.session.query(User).all)
        orders = executor.submit(db.session.query(Order).all)
        items = executor.submit(db.session.query(Item).all)
        if "wait" in request.args:  # leaves them to workers; result() may be quicker than those
            wait([users, orders, items], timeout=PATIENCE)
        return {
            "users": [user.name for user in users.result()],
            "orders": [[order.id, order.user_id] for order in orders.result()],
            "items": [item.name for item in items.result()],
        }

    right = {
        "users": NAMES,
        "orders": [[row["id"], row["user_id"]] for row in ROWS["orders"]],
        "items": [row["name"] for row in ROWS["items"]],
    }
    numbers = iter(range(REQUESTS))
    lock = threading.Lock()
    answers: list[dict[str, Any]] = []
    errors: list[BaseException] = []

    def ask() -> None:
        client = app.test_client()
        try:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                answer = client.get("/dashboard?wait" if number % 2 else "/dashboard").json
                with lock:
                    answers.append(answer)
        except BaseException as error:
            errors.append(error)

    at_workers = stats().on_workers
    answers.append(app.test_client().get("/dashboard?wait").json)
    # All three: nobody else has a connection. Among many requests their sessions may have them all.
    assert stats().on_workers == at_workers + 3
    next(numbers)
    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert len(answers) == REQUESTS
    assert (
        sum(
            sorted(answer[name]) == sorted(expected)
            for answer in answers
            for name, expected in right.items()
        )
        == 3 * REQUESTS
    )
    nothing_is_checked_out(app)


# A user that is kept in g, as Flask-Login does it


def expire(user: Any) -> None:
    db.session.expire(user)


def commit(_: Any) -> None:
    db.session.commit()


@pytest.mark.parametrize("lose", [expire, commit])
@pytest.mark.parametrize("by", ["caller", "worker"])
def test_a_callable_that_refreshes_the_callers_user_is_told_so(
    visit: Visit, lose: Callable[[Any], None], by: str
) -> None:
    def view() -> None:
        user = g.user = db.session.get(User, 8)
        threads = []

        def from_closure() -> str:
            threads.append(threading.current_thread())
            return user.name

        def from_g() -> str:
            threads.append(threading.current_thread())
            return g.user.name

        for task in (from_closure, from_g):
            lose(user)
            where = inline() if by == "caller" else nullcontext()
            with where, pytest.raises(WrongThread, match=r"belongs to its caller.*Pass the state"):
                run_in_parallel([task], timeout=None if by == "caller" else PATIENCE)
        assert {thread is threading.current_thread() for thread in threads} == {by == "caller"}
        assert user.name == "User 08"  # the session is as it was

    visit(view)


@pytest.mark.parametrize("lose", [expire, commit])
@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_a_statement_may_have_the_callers_expired_user_as_a_value(
    visit: Visit, lose: Callable[[Any], None], timeout: float | None
) -> None:
    def view() -> None:
        g.user = db.session.get(User, 8)
        lose(g.user)
        assert inspect(g.user).expired
        orders, count, beside = run_in_parallel(
            [
                select(Order).where(Order.user == g.user),
                Order.query.filter_by(user=g.user).count,
                lambda: Item.query.count(),  # noqa: PLW0108
            ],
            timeout=timeout,
        )
        found = orders.scalars().all()
        assert {order.user_id for order in found} == {8}
        assert len(found) == count == OF_USER[8]
        assert found[0].user is g.user
        assert beside == ITEMS

    visit(view)
