"""The pool's errors through Flask's error handling, the application's own handlers first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from werkzeug.exceptions import (
    GatewayTimeout,
    HTTPException,
    InternalServerError,
    ServiceUnavailable,
)

from commonpool import CommonPoolError, DeadlineExceeded, PoolSaturated, current_executor
from commonpool.ext.flask import FlaskCommonPool
from tests.helpers import Gate, wait_until

ERRORS = [(PoolSaturated, 503), (DeadlineExceeded, 504)]

# What an application may have a handler for, when the pool raises an error
HANDLED = [
    (PoolSaturated, PoolSaturated),
    (PoolSaturated, CommonPoolError),
    (PoolSaturated, 503),
    (PoolSaturated, ServiceUnavailable),
    (PoolSaturated, HTTPException),
    (PoolSaturated, Exception),
    (DeadlineExceeded, DeadlineExceeded),
    (DeadlineExceeded, CommonPoolError),
    (DeadlineExceeded, TimeoutError),
    (DeadlineExceeded, OSError),
    (DeadlineExceeded, 504),
    (DeadlineExceeded, GatewayTimeout),
    (DeadlineExceeded, HTTPException),
    (DeadlineExceeded, Exception),
]


def raising(error: Exception) -> Callable[[], Any]:
    def view() -> Any:
        raise error

    return view


def handled_by(handlers: list[Any]) -> Callable[[Any], Any]:
    """A handler of the application's own, which records what it was given."""

    def handler(error: Any) -> tuple[str, int]:
        handlers.append(error)
        return "mine", 418

    return handler


@pytest.mark.parametrize(("kind", "status"), ERRORS)
def test_an_error_of_the_pool_is_answered_with_its_status(app, kind, status):
    app.add_url_rule("/", view_func=raising(kind("9 of 9 busy")))
    response = app.test_client().get("/")
    assert response.status_code == status
    assert "9 of 9" not in response.text


def test_a_503_says_when_to_come_back(app):
    error = PoolSaturated("full")
    error.retry_after = 30
    app.add_url_rule("/", view_func=raising(error))
    assert app.test_client().get("/").headers["Retry-After"] == "30"


@pytest.mark.parametrize(("kind", "_"), ERRORS)
def test_the_numbers_are_logged(app, caplog, kind, _):
    app.add_url_rule("/", view_func=raising(kind("9 of 9 busy")))
    app.test_client().get("/")
    assert "9 of 9 busy" in caplog.text


@pytest.mark.parametrize(("kind", "status"), ERRORS)
@pytest.mark.parametrize("setting", ["TESTING", "PROPAGATE_EXCEPTIONS", "DEBUG"])
def test_an_error_is_answered_though_others_are_let_through(make_app, setting, kind, status):
    app = make_app(**{setting: True})
    app.add_url_rule("/", view_func=raising(kind("busy")))
    assert app.test_client().get("/").status_code == status


@pytest.mark.parametrize(("kind", "status"), ERRORS)
def test_an_error_before_the_view_is_answered_too(app, kind, status):
    app.before_request(raising(kind("busy")))
    app.add_url_rule("/", view_func=lambda: "never")
    assert app.test_client().get("/").status_code == status


@pytest.mark.parametrize(("kind", "status"), ERRORS)
def test_what_runs_after_requests_sees_the_answer(app, kind, status):
    seen = []

    @app.after_request
    def look(response: Any) -> Any:
        seen.append(response.status_code)
        return response

    app.add_url_rule("/", view_func=raising(kind("busy")))
    app.test_client().get("/")
    assert seen == [status]


def test_other_errors_of_the_view_are_left_to_flask(app):
    app.add_url_rule("/", view_func=raising(TimeoutError("its own")))
    assert app.test_client().get("/").status_code == 500


# The application's own handlers


@pytest.mark.parametrize(("kind", "handled"), HANDLED)
@pytest.mark.parametrize("moment", ["before the adapter", "after the adapter"])
def test_a_handler_of_the_application_comes_first(moment, kind, handled):
    app, seen = Flask("tests.flask"), []
    if moment == "after the adapter":
        FlaskCommonPool(app)
    app.register_error_handler(handled, handled_by(seen))
    if moment == "before the adapter":
        FlaskCommonPool(app)
    error = kind("busy")
    app.add_url_rule("/", view_func=raising(error))
    response = app.test_client().get("/")
    assert (response.text, response.status_code) == ("mine", 418)
    assert seen[0] is error or seen[0].__cause__ is error


@pytest.mark.parametrize(("kind", "handled"), HANDLED)
def test_a_handler_of_the_blueprint_comes_first(app, kind, handled):
    blueprint, seen = Blueprint("blueprint", "tests.flask"), []
    blueprint.register_error_handler(handled, handled_by(seen))
    blueprint.add_url_rule("/", view_func=raising(kind("busy")))
    app.register_blueprint(blueprint)
    assert app.test_client().get("/").text == "mine"
    assert len(seen) == 1


def test_the_innermost_of_nested_blueprints_comes_first(app):
    outer, inner = Blueprint("outer", "tests.flask"), Blueprint("inner", "tests.flask")
    outer.register_error_handler(CommonPoolError, lambda _: "outer")
    inner.register_error_handler(CommonPoolError, lambda _: "inner")
    inner.add_url_rule("/", view_func=raising(PoolSaturated("full")))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert app.test_client().get("/").text == "inner"


def test_a_handler_of_another_blueprint_is_not_asked(app):
    other = Blueprint("other", "tests.flask")
    other.register_error_handler(CommonPoolError, lambda _: "other")
    app.register_blueprint(other)
    app.add_url_rule("/", view_func=raising(PoolSaturated("full")))
    assert app.test_client().get("/").status_code == 503


def test_the_handler_for_the_nearest_kind_comes_first(app):
    app.register_error_handler(Exception, lambda _: "exception")
    app.register_error_handler(TimeoutError, lambda _: "timeout")
    app.add_url_rule("/", view_func=raising(DeadlineExceeded("late")))
    assert app.test_client().get("/").text == "timeout"


def test_a_handler_for_500_is_not_asked(app):
    app.register_error_handler(InternalServerError, lambda _: "500")
    app.add_url_rule("/", view_func=raising(PoolSaturated("full")))
    assert app.test_client().get("/").status_code == 503


# For real


def test_a_pool_that_has_no_room_is_503(make_app):
    app = make_app(COMMONPOOL_MAX_WORKERS=1, COMMONPOOL_MAX_QUEUE=1, COMMONPOOL_OVERFLOW="reject")

    @app.get("/")
    def view() -> str:
        return str(current_executor().submit(int).result())

    with Gate() as gate:
        current_executor().background(gate)
        wait_until(lambda: gate.inside)
        current_executor().background(int)
        assert app.test_client().get("/").status_code == 503
    wait_until(lambda: not current_executor().pool.stats().busy)
    assert app.test_client().get("/").text == "0"


def test_a_request_past_its_deadline_is_504(make_app):
    app = make_app(COMMONPOOL_DEADLINE=0.05)
    with Gate() as gate:

        @app.get("/")
        def view() -> Any:
            future = current_executor().submit(gate)
            wait_until(lambda: gate.inside)
            return future.result()

        assert app.test_client().get("/").status_code == 504
