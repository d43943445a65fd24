"""Three queries in a view: one after another, and side by side in three ways.

With Flask-Executor each task opens a session of its own, as its documentation has it; the drop-in
runs the same code. `run_in_parallel` takes the statements as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Select, event, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from commonpool import run_in_parallel
from commonpool.ext.flask import FlaskCommonPool
from commonpool.ext.flask_executor import Executor
from stack.ways import Timing
from stack.ways.serving import ask, own_pool, served, unless_missing
from stack.ways.waiting import Waits

TITLE = "Three queries of 1 s in a view"
COLUMNS = ("s",)

SECONDS = 1.0
KINDS = {"fruit": ["apple", "pear"], "tree": ["ash", "elm", "oak"], "bird": ["robin"]}
"""What the queries find: a kind for each."""


class Base(DeclarativeBase):
    """The tables."""


class Thing(Base):
    """One of the things that are asked for."""

    __tablename__ = "thing"

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]


db = SQLAlchemy(metadata=Base.metadata)

Rows = list[list[str]]


def measure(scale: float) -> list[Timing]:
    """Time each way, with queries of so many seconds.

    Raises:
        ValueError: a way has given other rows than the first.
    """
    seconds = SECONDS * scale
    theirs = "Flask-Executor"
    return [
        _timing("one after another", seconds, sequential),
        unless_missing(theirs, "flask_executor") or _timing(theirs, seconds, flask_executor),
        _timing("commonpool.ext.flask_executor", seconds, drop_in),
        _timing("run_in_parallel", seconds, in_parallel),
    ]


def sequential(_app: Flask, statements: list[Select[str]]) -> Callable[[], Rows]:
    """The view as it is written first."""
    return lambda: [rows(statement) for statement in statements]


def flask_executor(app: Flask, statements: list[Select[str]]) -> Callable[[], Rows]:
    """Flask-Executor."""
    from flask_executor import Executor  # noqa: PLC0415 - may be missing

    return _submitting(Executor(app), statements)


def drop_in(app: Flask, statements: list[Select[str]]) -> Callable[[], Rows]:
    """The same, with another import."""
    return _submitting(Executor(app), statements)


def in_parallel(app: Flask, statements: list[Select[str]]) -> Callable[[], Rows]:
    """The statements as they are, on the session of the request."""
    FlaskCommonPool(app)
    return lambda: [[*result.scalars()] for result in run_in_parallel(statements)]


def rows(statement: Select[str]) -> list[str]:
    """What a statement finds, by the session of the app context."""
    return [*db.session.scalars(statement)]


def _submitting(executor: Any, statements: list[Select[str]]) -> Callable[[], Rows]:
    def view() -> Rows:
        futures = [executor.submit(rows, statement) for statement in statements]
        return [future.result() for future in futures]

    return view


def _timing(
    way: str, seconds: float, of: Callable[[Flask, list[Select[str]]], Callable[[], Rows]]
) -> Timing:
    waits = Waits()
    with own_pool(), _application(waits) as app:
        app.add_url_rule("/", view_func=of(app, [_statement(kind, seconds) for kind in KINDS]))
        with served(app) as url:
            answer = ask(url)[0]
        executor = app.extensions.get("executor")
        if executor is not None:
            executor.shutdown()
    if answer.content != [*KINDS.values()]:
        raise ValueError(f"{way} gave {answer.content}, not {[*KINDS.values()]}")
    return Timing(way=way, seconds=(answer.seconds,), at_once=waits.peak)


def _statement(kind: str, seconds: float) -> Select[str]:
    # a subquery of its own is run once, not for each row
    nap = select(func.nap(seconds)).scalar_subquery()
    return select(Thing.name).where(Thing.kind == kind, nap == 0).order_by(Thing.name)


@contextmanager
def _application(waits: Waits) -> Iterator[Flask]:
    """An application without a view, on a database of its own."""

    def nap(seconds: float) -> int:
        waits(seconds)
        return 0

    with TemporaryDirectory() as folder:
        app = Flask(__name__)
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{Path(folder) / 'things.db'}"
        db.init_app(app)
        with app.app_context():
            event.listen(
                db.engine,
                "connect",
                lambda connection, _: connection.create_function("nap", 1, nap),
            )
            db.create_all()
            for kind, names in KINDS.items():
                db.session.add_all(Thing(name=name, kind=kind) for name in names)
            db.session.commit()
        try:
            yield app
        finally:
            with app.app_context():
                db.engine.dispose()
