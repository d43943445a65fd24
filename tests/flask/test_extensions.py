"""What people use with Flask works in tasks as it does in views."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    before_render_template,
    current_app,
    g,
    render_template_string,
    request,
    url_for,
)
from flask_babel import Babel, format_date, get_locale
from flask_caching import Cache
from flask_limiter import Limiter, RateLimitExceeded
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.record_queries import get_recorded_queries
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, mapped_column, object_session

from commonpool import run_in_parallel
from commonpool.ext.asyncio import run_in_parallel_async
from commonpool.ext.flask import FlaskCommonPool
from tests.flask.conftest import with_statements
from tests.flask.test_contexts import RUNS, on_two_threads

pytestmark = pytest.mark.usefixtures("coroutines")

db = SQLAlchemy()
PEOPLE = ["Ada", "Grace"]


class Person(UserMixin, db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = Flask("tests.flask")
    app.config.update(
        SECRET_KEY="for sessions",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'people.db'}",
        SQLALCHEMY_RECORD_QUERIES=True,
    )
    db.init_app(app)
    FlaskCommonPool(app)
    with app.app_context():
        db.create_all()
        db.session.add_all(Person(name=name) for name in PEOPLE)
        db.session.commit()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("run", RUNS)
def test_flask_login_loads_the_user_again_in_the_tasks_own_session(app, visit, run):
    manager = LoginManager(app)
    loaded = []

    @manager.user_loader
    def load(number: str) -> Person | None:
        loaded.append(number)
        return db.session.get(Person, int(number))

    def task() -> tuple[str, bool]:
        return current_user.name, object_session(current_user) is db.session()

    def view() -> Any:
        login_user(db.session.get_one(Person, 1))
        mine = current_user._get_current_object()  # noqa: SLF001 - werkzeug documents it
        found = run(task)
        assert current_user == mine
        return found, object_session(mine) is db.session()

    assert visit(app, view) == (("Ada", True), True)
    assert loaded == ["1"]


@pytest.mark.parametrize("run", RUNS)
def test_flask_babel_has_the_locale_of_the_request(app, visit, run):
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["de", "en"]))

    def task() -> tuple[str, str]:
        return str(get_locale()), format_date(date(2026, 3, 1), "MMMM")

    found = visit(app, lambda: run(task), headers={"Accept-Language": "de"})
    assert found == ("de", "März")


def test_flask_caching_is_shared_by_tasks_and_views(app, visit):
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    computed = []

    @cache.memoize()
    def square(number: int) -> int:
        computed.append(number)
        return number * number

    def view() -> Any:
        square(0)  # two first calls at once are two versions of the function for Flask-Caching
        in_tasks = run_in_parallel([lambda n=n: square(n) for n in range(4)])
        again = run_in_parallel([lambda n=n: square(n) for n in range(4)])
        return in_tasks, again, [square(n) for n in range(4)]

    squares = [0, 1, 4, 9]
    assert visit(app, view) == (squares, squares, squares)
    assert sorted(computed) == [0, 1, 2, 3]


def test_flask_limiter_counts_what_tasks_call(app, visit):
    limiter = Limiter(lambda: request.headers["X-Client"], app=app, storage_uri="memory://")

    @limiter.limit("2 per hour")
    def ask_elsewhere() -> str:
        return "answer"

    def view() -> Any:
        return run_in_parallel([ask_elsewhere] * 3, return_exceptions=True)

    found = visit(app, view, headers={"X-Client": "a"})
    assert sum(answer == "answer" for answer in found) == 2
    assert sum(isinstance(answer, RateLimitExceeded) for answer in found) == 1


def test_a_limit_that_a_task_meets_is_answered_with_429(app):
    limiter = Limiter(lambda: "all", app=app, storage_uri="memory://")

    @limiter.limit("1 per hour")
    def ask_elsewhere() -> str:
        return "answer"

    app.add_url_rule("/", view_func=lambda: run_in_parallel([ask_elsewhere])[0])
    statuses = [app.test_client().get("/").status_code for _ in range(2)]
    assert statuses == [200, 429]


@with_statements
def test_recorded_queries_are_those_of_a_fan_out_too(app, visit):
    statements = [select(Person.name).where(Person.id == number) for number in (1, 2)]

    def view() -> Any:
        names = [result.scalar() for result in run_in_parallel(statements)]
        return names, [query.parameters for query in get_recorded_queries()]

    names, recorded = visit(app, view)
    assert names == PEOPLE
    assert sorted(recorded) == [[(1,)], [(2,)]]


def test_the_queries_of_a_function_are_recorded_in_its_own_context(app, visit):
    def task() -> int:
        db.session.get(Person, 1)
        return len(get_recorded_queries())

    def view() -> Any:
        return on_two_threads(task), len(get_recorded_queries())

    assert visit(app, view) == ([1, 1], 0)


@pytest.mark.parametrize("run", RUNS)
def test_url_for_in_a_task_gives_the_address_that_it_gives_in_the_view(app, visit, run):
    def task() -> tuple[str, str]:
        return url_for("static", filename="a.css"), url_for(".answer", _external=True)

    found = visit(app, lambda: run(task), base_url="https://shop.example/")
    assert found == ("/static/a.css", "https://shop.example/")


@pytest.mark.parametrize("run", RUNS)
def test_signals_are_sent_in_tasks(app, visit, run):
    seen = []

    def note(sender: Flask, context: dict[str, Any], **_: Any) -> None:
        seen.append((sender.name, context["name"], request.path))

    with before_render_template.connected_to(note, app):
        found = visit(app, lambda: run(lambda: render_template_string("{{ name }}!", name="Ada")))
    assert found == "Ada!"
    assert seen == [("tests.flask", "Ada", "/")]


@pytest.mark.parametrize("run", RUNS)
def test_what_a_task_logs_can_name_the_request(app, visit, run, caplog):
    class NameTheRequest(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.path = request.path
            return True

    app.logger.addFilter(names := NameTheRequest())
    try:
        with caplog.at_level(logging.WARNING, app.logger.name):
            visit(app, lambda: run(lambda: current_app.logger.warning("in a task")))
    finally:
        app.logger.removeFilter(names)
    assert [(record.message, record.path) for record in caplog.records] == [("in a task", "/")]


def names_of_people() -> list[Any]:
    return [select(Person.name).where(Person.id == number) for number in (1, 2)]


def names_of_all() -> list[str]:
    return [result.scalar() for result in run_in_parallel(names_of_people())]


async def path() -> str:
    return request.path


def test_an_async_view_fans_out(app):
    @app.get("/")
    async def people() -> dict[str, Any]:
        g.user = "Ada"
        paths = await run_in_parallel_async([lambda: request.path, path, path()])
        return {"paths": paths, "user": g.user}

    answer = app.test_client().get("/").get_json()
    assert answer == {"paths": ["/"] * 3, "user": "Ada"}


@with_statements
def test_an_async_view_asks_for_statements(app):
    @app.get("/")
    async def people() -> list[str]:
        *people, where = await run_in_parallel_async([*names_of_people(), path])
        assert where == "/"
        return [result.scalar() for result in people]

    assert app.test_client().get("/").get_json() == PEOPLE


@with_statements
def test_a_view_asks_for_statements_beside_coroutines_and_functions(app):
    @app.get("/")
    def people() -> list[str]:
        first, where, second, method = run_in_parallel(
            [names_of_people()[0], path, names_of_people()[1], lambda: request.method]
        )
        return [where, first.scalar(), second.scalar(), method]

    assert app.test_client().get("/").get_json() == ["/", *PEOPLE, "GET"]


@with_statements
def test_an_async_view_is_told_of_a_statement_that_fails(app):
    wrong = text("SELECT name FROM nobody")

    @app.get("/")
    async def people() -> list[str]:
        with pytest.raises(OperationalError, match="nobody") as caught:
            await run_in_parallel_async([*names_of_people(), wrong])
        found, error = await run_in_parallel_async(
            [names_of_people()[0], wrong], return_exceptions=True
        )
        assert isinstance(error, OperationalError)
        return [*caught.value.__notes__, found.scalar()]

    note, name = app.test_client().get("/").get_json()
    assert note.startswith("in task 3 of 3 of a run_in_parallel_async: ")
    assert name == PEOPLE[0]


def test_an_async_view_that_would_block_is_told_what_to_do(app):
    @app.get("/")
    async def people() -> list[str]:
        return run_in_parallel([lambda: request.path])

    app.testing = True
    with pytest.raises(RuntimeError, match=r"await run_in_parallel_async\(\.\.\.\)"):
        app.test_client().get("/")


def test_a_coroutine_has_an_app_context_of_its_own(app):
    ended: list[Any] = []

    @app.teardown_appcontext
    def teardown(_: BaseException | None) -> None:
        ended.append(g.get("name"))

    async def named(name: str) -> list[Any]:
        before = g.get("name")
        g.name = name
        await asyncio.sleep(0.001)
        return [before, g.name, current_app.name, request.path]

    @app.get("/")
    def people() -> list[Any]:
        g.name = "view"
        found = run_in_parallel([partial(named, "first"), partial(named, "second")])
        return [*found, g.name]

    first, second, name = app.test_client().get("/").get_json()
    assert first == [None, "first", app.name, "/"]
    assert second == [None, "second", app.name, "/"]
    assert name == "view"
    assert sorted(ended) == ["first", "second", "view"]
    assert ended[-1] == "view"


def test_async_functions_before_and_after_a_request_leave_its_fan_out_alone(app):
    done: list[str] = []

    @app.before_request
    async def before() -> None:
        done.append("before")

    @app.after_request
    async def after(response: Response) -> Response:
        done.append("after")
        return response

    @app.teardown_request
    def teardown(_: BaseException | None) -> None:
        done.append("teardown")

    app.add_url_rule("/", view_func=lambda: run_in_parallel([lambda: request.path] * 3))
    assert app.test_client().get("/").get_json() == ["/"] * 3
    assert done == ["before", "after", "teardown"]


@with_statements
def test_a_client_that_keeps_its_context_finds_the_recorded_queries(app):
    app.add_url_rule("/", view_func=names_of_all)
    with app.test_client() as client:
        assert client.get("/").get_json() == PEOPLE
        assert len(get_recorded_queries()) == 2
        assert run_in_parallel([lambda: request.path]) == ["/"]
