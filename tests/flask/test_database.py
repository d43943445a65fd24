"""db.session inside a task is the task's own, and gives its connection back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from commonpool import current_executor, run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from commonpool.testing import inline

db = SQLAlchemy()


class Note(db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = Flask("tests.flask")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'notes.db'}"
    db.init_app(app)
    FlaskCommonPool(app)
    with app.app_context():
        db.create_all()
        db.session.add_all(Note(text=text) for text in "abc")
        db.session.commit()
    yield app
    with app.app_context():
        db.engine.dispose()


def checked_out(app: Flask) -> int:
    with app.app_context():
        return db.engine.pool.checkedout()


def texts() -> list[str]:
    return list(db.session.scalars(select(Note.text).order_by(Note.id)))


def test_tasks_at_the_same_time_have_a_session_and_a_connection_each(app, visit):
    meeting = threading.Barrier(3, timeout=10)

    def task() -> tuple[int, int]:
        connection = db.session.connection().connection.driver_connection
        meeting.wait()  # all of them are held
        return id(db.session()), id(connection)

    def view() -> Any:
        mine = (id(db.session()), id(db.session.connection().connection.driver_connection))
        return [mine, *run_in_parallel([task] * 3)]

    sessions, connections = zip(*visit(app, view), strict=True)
    assert len(set(sessions)) == len(set(connections)) == 4


def test_after_a_request_with_fan_outs_no_connection_is_checked_out(app, visit):
    assert visit(app, lambda: run_in_parallel([texts] * 10)) == [["a", "b", "c"]] * 10
    assert checked_out(app) == 0


def test_after_a_task_its_connection_is_back_before_its_result_is_there(app, visit):
    def view() -> int:
        run_in_parallel([texts] * 10)
        return db.engine.pool.checkedout()

    assert visit(app, view) == 0


def test_after_a_task_that_failed_its_connection_is_back(app, visit):
    def failing() -> None:
        texts()
        raise KeyError("after the query")

    def view() -> int:
        with pytest.raises(KeyError):
            run_in_parallel([failing, texts])
        return db.engine.pool.checkedout()

    assert visit(app, view) == 0


def test_a_task_that_the_caller_runs_leaves_the_callers_session_alone(app, visit):
    def task() -> tuple[int, list[str]]:
        return id(db.session()), texts()

    def view() -> Any:
        note = Note(text="uncommitted")
        db.session.add(note)
        db.session.flush()
        mine = id(db.session())
        with inline():
            ((theirs, seen),) = run_in_parallel([task])
        same = id(db.session()) == mine and note in db.session and db.session().in_transaction()
        return theirs != mine, same, seen

    assert visit(app, view) == (True, True, ["a", "b", "c"])


def test_what_a_task_commits_is_there_afterwards(app, visit):
    def add() -> None:
        db.session.add(Note(text="d"))
        db.session.commit()

    def view() -> list[str]:
        run_in_parallel([add])
        return texts()

    assert visit(app, view) == ["a", "b", "c", "d"]


def test_what_a_task_does_not_commit_is_rolled_back(app, visit):
    def add() -> None:
        db.session.add(Note(text="d"))
        db.session.flush()

    def view() -> list[str]:
        run_in_parallel([add])
        return texts()

    assert visit(app, view) == ["a", "b", "c"]


def test_nested_tasks_have_sessions_of_their_own(app, visit):
    def outer() -> tuple[int, list[int]]:
        return id(db.session()), run_in_parallel([lambda: (id(db.session()), texts())[0]] * 2)

    def view() -> bool:
        mine, inner = run_in_parallel([outer])[0]
        return mine not in inner

    assert visit(app, view)
    assert checked_out(app) == 0


def test_background_work_has_a_session_of_its_own_after_the_request(app, visit):
    ended = threading.Event()

    def work() -> list[str]:
        assert ended.wait(10)
        return texts()

    future = visit(app, lambda: current_executor().background(work))
    ended.set()
    assert future.result() == ["a", "b", "c"]
    assert checked_out(app) == 0


def test_a_shell_queries_in_tasks(app):
    with app.app_context():
        assert run_in_parallel([texts, texts]) == [["a", "b", "c"]] * 2
    assert checked_out(app) == 0
