"""In what a task runs: an app context of its own, the request of its caller, and a fresh g."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, current_app, g, has_request_context, request, session
from flask.globals import app_ctx

from commonpool import current_executor, run_in_parallel
from commonpool.testing import inline
from tests.helpers import wait_until


def on_two_threads(task: Callable[[], Any]) -> list[Any]:
    """Run a task twice at the same time: on this thread and on a worker."""
    meeting = threading.Barrier(2, timeout=10)

    def meet() -> Any:
        meeting.wait()
        return task()

    return run_in_parallel([meet, meet])


def on_a_worker(task: Callable[[], Any]) -> Any:
    """Run a task while this thread does something else."""
    future = current_executor().submit(task)
    wait_until(future.done)
    return future.result()


def by_the_caller(task: Callable[[], Any]) -> Any:
    with inline():
        return run_in_parallel([task])[0]


def context() -> Any:
    return app_ctx._get_current_object()  # noqa: SLF001 - werkzeug documents it


def application() -> Any:
    return current_app._get_current_object()  # noqa: SLF001 - werkzeug documents it


RUNS = [on_a_worker, by_the_caller]


@pytest.mark.parametrize("run", RUNS)
def test_the_request_and_the_session_are_readable_in_a_task(app, visit, run):
    @app.before_request
    def log_in() -> None:
        session["user"] = "Ada"

    def view() -> Any:
        return run(lambda: (request.args["q"], request.path, session["user"]))

    assert visit(app, view, "/?q=1") == ("1", "/", "Ada")


@pytest.mark.parametrize("run", RUNS)
def test_the_body_of_the_request_is_readable_in_a_task(app, visit, run):
    view = lambda: run(lambda: request.get_json()["n"])  # noqa: E731
    assert visit(app, view, method="POST", json={"n": 5}) == 5


@pytest.mark.parametrize("run", RUNS)
def test_current_app_is_the_application_in_a_task(app, visit, run):
    assert visit(app, lambda: run(application)) is app


@pytest.mark.parametrize("run", RUNS)
def test_a_task_has_an_app_context_of_its_own(app, visit, run):
    def view() -> bool:
        return run(context) is context()

    assert visit(app, view) is False


def test_tasks_at_the_same_time_have_an_app_context_each(app, visit):
    def view() -> int:
        return len({id(each) for each in on_two_threads(context)})

    assert visit(app, view) == 2


# g


@pytest.mark.parametrize("run", RUNS)
def test_g_is_empty_in_a_task(app, visit, run):
    def view() -> Any:
        g.user = "Ada"
        return run(lambda: list(g))

    assert visit(app, view) == []


@pytest.mark.parametrize("run", RUNS)
def test_what_a_task_puts_into_g_stays_there(app, visit, run):
    def view() -> Any:
        g.user = "Ada"
        run(lambda: setattr(g, "user", "Bob"))
        return g.user

    assert visit(app, view) == "Ada"


@pytest.mark.parametrize("run", RUNS)
def test_the_names_in_copy_g_are_copied(make_app, visit, run):
    def view() -> Any:
        g.user, g.locale = "Ada", "en"
        return run(lambda: sorted((name, getattr(g, name)) for name in g))

    assert visit(make_app(copy_g=("locale", "absent")), view) == [("locale", "en")]


def test_copied_names_reach_nested_tasks(make_app, visit):
    def view() -> Any:
        g.locale = "en"
        return run_in_parallel([lambda: run_in_parallel([lambda: g.locale])])

    assert visit(make_app(copy_g=("locale",)), view) == [["en"]]


def test_what_stands_in_g_when_a_task_is_submitted_to_a_group_is_copied(make_app, visit):
    def view() -> Any:
        with current_executor().task_group() as group:
            g.locale = "en"
            future = group.submit(lambda: g.get("locale"))
        return future.result()

    assert visit(make_app(copy_g=("locale",)), view) == "en"


def test_a_task_submitted_to_a_group_has_the_app_context_of_that_moment(app):
    with current_executor().task_group() as group, app.app_context():
        future = group.submit(application)
    assert future.result() is app


def test_requests_at_the_same_time_do_not_see_each_others_g_or_arguments(make_app):
    app = make_app(copy_g=("name",), COMMONPOOL_MAX_WORKERS=2)
    meeting = threading.Barrier(6, timeout=10)

    @app.get("/<name>")
    def view(name: str) -> list[list[Any]]:
        g.name = name
        meeting.wait()
        return run_in_parallel([lambda: [g.name, request.view_args["name"], list(g)]] * 20)

    answers: dict[str, Any] = {}

    def ask(name: str) -> None:
        answers[name] = app.test_client().get(f"/{name}").get_json()

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {name: [[name, name, ["name"]]] * 20 for name in "abcdef"}


# No trace


def test_a_task_that_the_caller_runs_leaves_its_app_context_in_place(app, visit):
    def view() -> bool:
        before = context()
        by_the_caller(lambda: setattr(g, "left", "behind"))
        return context() is before

    assert visit(app, view)


def test_a_task_that_fails_in_the_caller_leaves_its_app_context_in_place(app, visit):
    def view() -> bool:
        before = context()
        with pytest.raises(ZeroDivisionError):
            by_the_caller(lambda: 1 / 0)
        return context() is before

    assert visit(app, view)


def test_a_worker_keeps_no_context_between_tasks(make_app):
    app = make_app(COMMONPOOL_MAX_WORKERS=1)
    with app.test_request_context("/"):
        assert on_a_worker(has_request_context)
    assert not on_a_worker(has_request_context)


# Nesting, and several applications


def test_fan_outs_nest_and_each_level_has_a_g_of_its_own(app, visit):
    def level(depth: int) -> Any:
        seen = (depth, request.args["q"], list(g))
        g.level = depth
        below = run_in_parallel([lambda: level(depth + 1)] * 2) if depth < 3 else []
        assert g.level == depth
        return [seen, *below]

    deepest = visit(app, lambda: level(0), "/?q=x")[1][1][1][0]
    assert deepest == (3, "x", [])


def test_tasks_of_several_applications_in_one_pool_run_in_their_own(make_app, visit):
    def view() -> Any:
        return on_two_threads(lambda: current_app.name), id(current_executor().pool)

    apps = [make_app(), make_app()]
    for number, app in enumerate(apps):
        app.name = f"app {number}"
    (first, pool), (second, same_pool) = (visit(app, view) for app in apps)
    assert (first, second) == (["app 0"] * 2, ["app 1"] * 2)
    assert pool == same_pool


def test_a_task_without_an_application_needs_none(app):
    assert app.extensions
    assert run_in_parallel([has_request_context]) == [False]


def test_an_application_without_the_adapter_is_served_beside_one_with_it(app):
    other = Flask("other")
    with other.app_context():
        assert app.extensions
        assert on_a_worker(lambda: current_app.name) == "other"
