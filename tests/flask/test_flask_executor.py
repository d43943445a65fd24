"""The drop-in for Flask-Executor: its documented API and settings, and what was missing there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, request, session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, select
from sqlalchemy.orm import Mapped, mapped_column

from commonpool import ConfigError, PoolConfig, PoolSaturated, process
from commonpool.adapters import budget_of
from commonpool.ext.flask_executor import Executor, FutureCollection
from commonpool.process import current_pool
from tests.flask.conftest import with_statements
from tests.helpers import Gate, wait_until

db = SQLAlchemy()


class Book(db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


@pytest.fixture
def plain() -> Flask:
    """An application without the adapter: users change one import."""
    app = Flask("tests.flask")
    app.config["SECRET_KEY"] = "for sessions"
    return app


def double(number: int) -> int:
    return 2 * number


def process_id() -> int:
    return os.getpid()


def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


# What its documentation shows


def test_submit_gives_a_future(plain, visit):
    executor = Executor(plain)

    def view() -> Any:
        future = executor.submit(pow, 3, 4)
        assert isinstance(future, Future)
        return future.result()

    assert visit(plain, view) == 81


def test_keyword_arguments_are_passed_on(plain, visit):
    executor = Executor(plain)
    assert visit(plain, lambda: executor.submit(int, "ff", base=16).result()) == 255


def test_map_gives_the_results_in_order(plain, visit):
    executor = Executor(plain)
    assert visit(plain, lambda: list(executor.map(pow, range(5), [2] * 5))) == [0, 1, 4, 9, 16]


def test_map_sees_the_request_in_all_of_its_calls_at_the_same_time(plain, visit):
    executor = Executor(plain)
    together = threading.Barrier(3, timeout=10)

    def task(number: int) -> tuple[int, str]:
        together.wait()
        return number, request.path

    assert visit(plain, lambda: list(executor.map(task, range(3)))) == [(n, "/") for n in range(3)]


def test_a_job_submits_itself(plain, visit):
    executor = Executor(plain)

    @executor.job
    def squared(number: int) -> int:
        return number * number

    def view() -> Any:
        squared.submit_stored("three", 3)
        stored = executor.futures.pop("three").result()
        return squared.submit(2).result(), stored, list(squared.map(range(4)))

    assert visit(plain, view) == (4, 9, [0, 1, 4, 9])


def test_stored_futures_are_there_for_the_next_request(plain):
    executor = Executor(plain)
    gate = Gate()

    @plain.post("/start")
    def start() -> str:
        executor.submit_stored("report", gate, "the report")
        return "started"

    @plain.get("/result")
    def result() -> dict[str, Any]:
        if not executor.futures.done("report"):
            return {"state": executor.futures._state("report")}  # noqa: SLF001 - documented
        return {"result": executor.futures.pop("report").result()}

    client = plain.test_client()
    assert client.post("/start").status_code == 200
    wait_until(lambda: gate.inside == 1)
    assert client.get("/result").get_json() == {"state": "RUNNING"}
    gate.open()
    wait_until(lambda: executor.futures.done("report"))
    assert client.get("/result").get_json() == {"result": "the report"}
    assert executor.futures.done("report") is None
    assert executor.futures.pop("report") is None


def test_a_key_is_used_once_at_a_time(plain, visit):
    executor = Executor(plain)

    def view() -> None:
        executor.submit_stored("a", double, 1)
        with pytest.raises(ValueError, match="future_key a already exists"):
            executor.submit_stored("a", double, 2)
        executor.futures.pop("a")
        executor.submit_stored("a", double, 3)

    visit(plain, view)


def test_the_oldest_stored_futures_go_first(plain, visit):
    plain.config["EXECUTOR_FUTURES_MAX_LENGTH"] = "2"
    executor = Executor(plain)

    def view() -> Any:
        futures = [executor.submit_stored(key, double, 1) for key in "abc"]
        return [future in executor.futures for future in futures], len(executor.futures)

    assert visit(plain, view) == ([False, True, True], 2)


def test_a_collection_without_a_limit_keeps_all():
    collection = FutureCollection(None)
    for number in range(200):
        collection.add(number, Future())
    assert len(collection) == 200
    with pytest.raises(AttributeError, match="nonsense"):
        collection.nonsense(1)


def test_default_callbacks_are_called_with_every_future(plain, visit):
    executor = Executor(plain)
    seen = []
    executor.add_default_done_callback(lambda future: seen.append(future.result()))
    visit(plain, lambda: [executor.submit(double, n).result() for n in range(3)])
    wait_until(lambda: len(seen) == 3)
    assert sorted(seen) == [0, 2, 4]


def test_a_callback_finds_the_contexts_in_which_it_was_added(plain, visit):
    executor = Executor(plain)
    seen = []
    gate = Gate()

    def note(future: Future[Any]) -> None:
        seen.append((current_app.name, request.args["q"], future.result()))

    def view() -> None:
        executor.submit(gate, 7).add_done_callback(note)
        gate.open()

    visit(plain, view, query_string={"q": "x"})
    wait_until(lambda: seen)
    assert seen == [("tests.flask", "x", 7)]


def test_names_tell_executors_and_their_settings_apart(plain):
    plain.config["MAIL_EXECUTOR_MAX_WORKERS"] = 2
    plain.config["EXECUTOR_MAX_WORKERS"] = 3
    usual, mail = Executor(plain), Executor(plain, name="mail")
    assert plain.extensions["executor"] is usual
    assert plain.extensions["mailexecutor"] is mail
    assert (usual._max_workers, mail._max_workers) == (3, 2)  # noqa: SLF001 - as it is called there
    assert usual.EXECUTOR_TYPE == "EXECUTOR_TYPE"
    assert mail.EXECUTOR_TYPE == "MAIL_EXECUTOR_TYPE"
    assert plain.config["MAIL_EXECUTOR_TYPE"] == "thread"


@pytest.mark.parametrize("name", ["my executor", "a-b", "a.b", "a\n"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="letters, numbers or underscores"):
        Executor(name=name)


def test_isinstance_tells_the_type(plain):
    threads = Executor(plain)
    plain.config["P_EXECUTOR_TYPE"] = "process"
    processes = Executor(plain, name="p")
    for executor in (threads, processes):
        assert isinstance(executor, Executor)
        assert isinstance(executor, concurrent.futures.Executor)
    assert isinstance(threads, ThreadPoolExecutor)
    assert not isinstance(threads, ProcessPoolExecutor)
    assert isinstance(processes, ProcessPoolExecutor)
    assert not isinstance(processes, ThreadPoolExecutor)


def test_an_unknown_type_is_refused(plain):
    plain.config["EXECUTOR_TYPE"] = "fibre"
    with pytest.raises(ValueError, match="fibre is not a valid executor type"):
        Executor(plain)


@pytest.mark.parametrize("setting", ["EXECUTOR_MAX_WORKERS", "EXECUTOR_FUTURES_MAX_LENGTH"])
@pytest.mark.parametrize("value", [0, -1, "many", [3]])
def test_a_wrong_number_is_refused_and_named(plain, setting, value):
    plain.config[setting] = value
    with pytest.raises(ValueError, match=f"{setting} must be a whole number, 1 or more, got"):
        Executor(plain)


def test_the_context_of_the_application_has_a_copy_of_g(plain, visit):
    executor = Executor(plain)

    def task() -> tuple[str, str, str]:
        g.name += "!"
        return g.name, request.path, session["user"]

    def view() -> Any:
        g.name = "Ada"
        session["user"] = "ada"
        return executor.submit(task).result(), g.name

    assert visit(plain, view) == (("Ada!", "/", "ada"), "Ada")


def test_what_extensions_keep_in_g_is_not_copied(plain, visit):
    executor = Executor(plain)

    def view() -> Any:
        setattr(g, "_of_an_extension", "this request's")  # noqa: B010 - as one would
        return executor.submit(lambda: "_of_an_extension" in g).result()

    assert visit(plain, view) is False


def test_without_the_push_of_the_application_context_g_is_empty(plain, visit):
    plain.config["EXECUTOR_PUSH_APP_CONTEXT"] = False
    executor = Executor(plain)

    def view() -> Any:
        g.name = "Ada"
        return executor.submit(lambda: ("name" in g, request.path)).result()

    assert visit(plain, view) == (False, "/")


@pytest.mark.parametrize(("setting", "logged"), [("true", True), (True, True), (False, False)])
def test_errors_are_raised_where_the_standard_library_logs_them(
    plain, visit, caplog, setting, logged
):
    plain.config["EXECUTOR_PROPAGATE_EXCEPTIONS"] = setting
    executor = Executor(plain)
    with caplog.at_level(logging.ERROR):
        error = visit(plain, lambda: executor.submit(int, "x").exception())
        wait_until(lambda: any("background" in record.message for record in caplog.records))
    assert isinstance(error, ValueError)
    names = {record.name for record in caplog.records}
    assert ("concurrent.futures" in names) is logged
    assert "commonpool" in names


def test_after_its_shutdown_an_executor_takes_nothing_and_others_go_on(plain, visit):
    first, second = Executor(plain), Executor(plain, name="second")

    def view() -> Any:
        future = first.submit(double, 2)
        first.shutdown()
        assert future.done()
        for refused in (lambda: first.submit(double, 1), lambda: first.map(double, [1])):
            with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                refused()
        return future.result(), second.submit(double, 3).result()

    assert visit(plain, view) == (4, 6)


def test_a_with_block_ends_with_a_shutdown(plain, visit):
    executor = Executor(plain)

    def view() -> Any:
        with executor:
            future = executor.submit(double, 2)
        return future.done()

    assert visit(plain, view) is True


def test_a_shutdown_cancels_what_has_not_started(make_app, visit):
    app = make_app(COMMONPOOL_MAX_WORKERS=1)
    executor = Executor(app)
    gate = Gate()

    def view() -> Any:
        futures = [executor.submit(gate) for _ in range(3)]
        wait_until(lambda: gate.inside == 1)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.open()
        return [future.cancelled() for future in futures]

    assert visit(app, view) == [False, True, True]


# Processes


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*fork:DeprecationWarning"
)  # as it is there, too
def test_processes_compute(plain):
    plain.config.update(EXECUTOR_TYPE="process", EXECUTOR_MAX_WORKERS=2)
    executor = Executor(plain)

    @plain.get("/")
    def view() -> dict[str, Any]:
        return {
            "fib": executor.submit(fib, 15).result(),
            "doubled": list(executor.map(double, range(3))),
            "elsewhere": executor.submit(process_id).result() != os.getpid(),
        }

    try:
        answer = plain.test_client().get("/").get_json()
        assert answer == {"fib": 610, "doubled": [0, 2, 4], "elsewhere": True}
        with pytest.raises(TypeError, match="don't support decorators"):
            executor.job(double)
    finally:
        executor.shutdown()


# What its users have asked for in vain


def test_outside_of_a_request_the_only_application_is_meant(plain):
    executor = Executor(plain)
    future = executor.submit(lambda: current_app.name)
    assert future.result() == "tests.flask"
    assert list(executor.map(lambda _: current_app.name, range(2))) == ["tests.flask"] * 2


def test_with_two_applications_it_has_to_be_said(plain):
    executor = Executor()
    with pytest.raises(RuntimeError, match="has 0 applications"):
        executor.submit(double, 1)
    other = Flask("another")
    executor.init_app(plain)
    executor.init_app(other)
    with pytest.raises(RuntimeError, match="has 2 applications"):
        executor.submit(double, 1)
    with other.app_context():
        assert executor.submit(lambda: current_app.name).result() == "another"


def test_its_tasks_are_run_by_the_shared_pool_in_its_bounds(make_app, visit):
    app = make_app(COMMONPOOL_MAX_WORKERS=2, COMMONPOOL_MAX_QUEUE=1, COMMONPOOL_OVERFLOW="reject")
    executor = Executor(app)
    gate = Gate()

    def view() -> Any:
        first = [executor.submit(gate) for _ in range(2)]
        wait_until(lambda: gate.inside == 2)
        waiting = executor.submit(double, 1)
        with pytest.raises(PoolSaturated):
            executor.submit(double, 2)
        gate.open()
        return [future.result() for future in (*first, waiting)]

    assert visit(app, view) == [None, None, 2]


def test_no_more_than_its_workers_run_its_tasks(make_app, visit):
    app = make_app(COMMONPOOL_MAX_WORKERS=8, EXECUTOR_MAX_WORKERS=2)
    executor = Executor(app)
    gate = Gate()

    def view() -> Any:
        futures = [executor.submit(gate) for _ in range(6)]
        wait_until(lambda: gate.inside == 2)
        assert current_pool().stats().queued == 4
        assert executor.submit(double, 4).cancel()
        gate.open()
        concurrent.futures.wait(futures)
        return gate.peak

    assert visit(app, view) == 2


def test_who_waits_for_what_nobody_has_started_runs_it(make_app, visit):
    app = make_app(COMMONPOOL_MAX_WORKERS=4, EXECUTOR_MAX_WORKERS=1)
    executor = Executor(app)

    def sum_to(n: int) -> int:
        return n + executor.submit(sum_to, n - 1).result() if n else 0

    assert visit(app, lambda: executor.submit(sum_to, 10).result()) == 55


def test_what_was_submitted_is_drained(make_app, visit):
    app = make_app(COMMONPOOL_MAX_WORKERS=1)
    executor = Executor(app)
    gate = Gate()
    done = []

    def view() -> None:
        executor.submit(gate)
        for number in range(3):
            executor.submit(done.append, number)
        wait_until(lambda: gate.inside == 1)

    visit(app, view)
    closing = threading.Thread(target=process.close)
    closing.start()
    wait_until(lambda: current_pool().closed)
    gate.open()
    closing.join()
    assert done == [0, 1, 2]


@pytest.fixture
def library(plain: Flask, tmp_path: Path) -> Iterator[Flask]:
    plain.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'books.db'}"
    db.init_app(plain)
    with plain.app_context():
        db.create_all()
        db.session.add_all(Book(title=title) for title in "abc")
        db.session.commit()
    yield plain
    with plain.app_context():
        db.engine.dispose()


def test_each_task_has_a_session_of_its_own_that_is_closed(library, visit):
    executor = Executor(library)
    sessions = []

    def task() -> list[str]:
        sessions.append(db.session())
        return list(db.session.scalars(select(Book.title)))

    def view() -> Any:
        titles = executor.submit(task).result()
        sessions.append(db.session())
        return titles

    assert visit(library, view) == ["a", "b", "c"]
    assert sessions[0] is not sessions[1]
    with library.app_context():
        assert db.engine.pool.checkedout() == 0


@with_statements
def test_the_query_of_the_session_that_is_submitted_everywhere(library, visit):
    executor = Executor(library)
    executor.add_default_done_callback(lambda _: None)
    threads = []

    def view() -> Any:
        event.listen(
            db.engine, "before_cursor_execute", lambda *_: threads.append(threading.get_ident())
        )
        futures = [executor.submit(db.session.query(Book).all) for _ in range(2)]
        wait_until(lambda: all(future.done() for future in futures))
        first, second = (future.result() for future in futures)
        assert first[0] in db.session
        assert first[0] is second[0]  # they are the session's
        return [book.title for book in first]

    assert visit(library, view) == ["a", "b", "c"]
    assert threading.get_ident() not in threads[:2]


@with_statements
def test_a_function_that_needs_a_connection_is_known_by_its_own_code(library, visit):
    executor = Executor(library)

    def count() -> int:
        return len(db.session.scalars(select(Book)).all())

    def view() -> Any:
        g.name = "Ada"
        return executor.submit(count).result()

    visit(library, view)
    assert budget_of(count) is not None


def test_the_settings_of_the_pool_are_the_applications(plain):
    plain.config["COMMONPOOL_MAX_WORKERS"] = 3
    Executor(plain)
    assert current_pool().config == PoolConfig(max_workers=3)


def test_a_wrong_setting_of_the_pool_is_told_at_start(plain):
    plain.config["COMMONPOOL_MAX_WORKERS"] = "many"
    with pytest.raises(ConfigError, match="COMMONPOOL_MAX_WORKERS='many'"):
        Executor(plain)


def test_its_settings_are_no_obstacle_to_the_pools_own(make_app):
    app = make_app(COMMONPOOL_MAX_WORKERS=3, EXECUTOR_MAX_WORKERS=2)
    Executor(app)
    assert current_pool().config == PoolConfig(max_workers=3)


@pytest.mark.usefixtures("coroutines")
def test_an_async_function_runs_on_the_event_loop_with_what_is_in_g(plain, visit):
    executor = Executor(plain)

    async def name(greeting: str) -> str:
        await asyncio.sleep(0)
        return f"{greeting} {g.name} at {request.path}"

    def view() -> Any:
        g.name = "Ada"
        return executor.submit(name, "Good day").result()

    assert visit(plain, view) == "Good day Ada at /"
