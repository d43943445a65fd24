"""Steps of a request that ask the database, side by side."""

from __future__ import annotations

from random import Random
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from commonpool import DeadlineExceeded, current_executor, run_in_parallel
from stack.app.database import db
from stack.soak.numbers import HIGHEST, Number
from stack.soak.steps import LATE, Step


class Rows(Step):
    """Statements for rows and for objects, and a callable with a session of its own."""

    def __init__(self, random: Random) -> None:
        self._numbers = [random.randint(1, HIGHEST) for _ in range(random.randint(1, 8))]
        self.tasks = len(self._numbers) + 2

    def run(self) -> Any:
        """Squares by primary key, how many objects there are below one, and all of them."""
        *rows, below, highest = run_in_parallel(
            [
                *[select(Number.square).where(Number.number == n) for n in self._numbers],
                select(Number).where(Number.number <= self._numbers[0]),
                lambda: db.session.scalar(select(func.max(Number.number))),
            ]
        )
        return [[row.scalar_one() for row in rows], len(below.scalars().all()), highest]

    def right(self, outcome: Any) -> bool:
        """What the table holds."""
        return bool(outcome == [[n * n for n in self._numbers], self._numbers[0], HIGHEST])


class WrongStatement(Step):
    """A statement that the database refuses, among others."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, 4)

    def run(self) -> Any:
        """Whether the database's error came out."""
        asked: list[Any] = [select(Number.square)] * (self.tasks - 1)
        try:
            run_in_parallel([*asked, text("SELECT no_such_column FROM soak_numbers")])
        except DBAPIError:
            db.session.rollback()
            return "refused"
        return "nothing"

    def right(self, outcome: Any) -> bool:
        """It did."""
        return bool(outcome == "refused")


class SlowStatement(Step):
    """Statements that take longer than they may: they are stopped in the database."""

    def __init__(self, random: Random) -> None:
        self.tasks = random.randint(1, 3)
        self._timeout = random.choice([0.002, 0.01])
        self._seconds = random.choice([0.0, 0.05, 0.6])
        self._way = random.choice(["run_in_parallel", "group"])

    def run(self) -> Any:
        """The rows, or that it was late."""
        asked: list[Any] = [select(func.sleep(self._seconds))] * self.tasks
        try:
            if self._way == "group":
                with current_executor().task_group(timeout=self._timeout) as group:
                    futures = [group.submit(statement) for statement in asked]
                return [future.result().scalar() for future in futures]
            return [row.scalar() for row in run_in_parallel(asked, timeout=self._timeout)]
        except DeadlineExceeded:
            db.session.rollback()  # its own connection may have been cut
            return LATE

    def right(self, outcome: Any) -> bool:
        """0, which is what `sleep` returns where nothing interrupted it; or late."""
        return bool(outcome == LATE or outcome == [0] * self.tasks)
