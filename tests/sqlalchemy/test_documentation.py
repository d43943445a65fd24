"""The code of docs/queries-in-parallel.md: every block runs, in the page's order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.orm import Session

from commonpool.ext.sqlalchemy import finding, limit_connections, scoped, sessions, stats
from commonpool.task import context_providers
from tests.sqlalchemy import models
from tests.sqlalchemy.databases import Database, wait_for_connections
from tests.sqlalchemy.models import Item, Order, User

PATIENCE = 60.0  # seconds

PAGE = Path(__file__).parents[2] / "docs" / "queries-in-parallel.md"

_BLOCK = re.compile(
    r"^(?:<!-- needs: (?P<needs>\w+) -->\n)?```python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code, the line of the page that it begins in, and the only family it is for."""

    code: str
    line: int
    needs: str | None


def blocks() -> list[Block]:
    page = PAGE.read_text()
    return [
        Block(match["code"], page.count("\n", 0, match.start("code")), match["needs"])
        for match in _BLOCK.finditer(page)
    ]


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """Have what the page registers forgotten afterwards."""
    registries: list[list[Any]] = [
        finding.session_providers,
        context_providers,
        scoped._registered,  # noqa: SLF001 (there is no way back)
        sessions._prepare,  # noqa: SLF001 (the same)
    ]
    before = [list(registry) for registry in registries]
    yield
    for registry, was in zip(registries, before, strict=True):
        registry[:] = was


class Page:
    """The page, read aloud to a database."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self.names: dict[str, Any] = {
            "__name__": "page",
            "DATABASE_URL": database.url,
            "REPLICA_URL": database.url,  # without any lag
            "engine": engine,
            "User": User,
            "Order": Order,
            "Item": Item,
        }
        self.kept: list[dict[str, Any]] = []

    def run(self) -> None:
        """Run the blocks; `kept` then has the names as they were after each."""
        for block in blocks():
            if block.needs in (None, self._database.family):
                # so that a traceback shows the page's own lines
                code = compile("\n" * block.line + block.code, str(PAGE), "exec")
                exec(code, self.names)
                self.kept.append(dict(self.names))

    def values(self, name: str) -> list[Any]:
        """Return each value that a name has had, in order."""
        values: list[Any] = []
        for names in self.kept:
            if name in names and not any(names[name] is value for value in values):
                values.append(names[name])
        return values

    def close(self) -> None:
        """Close what the blocks have left open."""
        for session in self.values("session"):
            session.close()
        for replica in self.values("replica"):
            wait_for_connections(replica)
            replica.dispose()
        if "app" in self.names:
            with self.names["app"].app_context():
                engine = self.names["db"].engine
            # before: what a worker gives back later would be in a pool that nobody closes
            wait_for_connections(engine)
            engine.dispose()


@pytest.fixture
def page(database: Database, engine: Engine) -> Iterator[Page]:
    page = Page(database, engine)
    yield page
    page.close()


def test_the_page_has_its_blocks() -> None:
    fences = PAGE.read_text().count("```python\n")
    assert len(blocks()) == fences >= 10
    assert {block.needs for block in blocks()} == {None, "postgresql"}


@pytest.mark.databases("sqlite", "postgresql")
def test_every_block_runs_and_says_what_a_session_would(page: Page, database: Database) -> None:
    before = stats()
    page.run()
    assert stats().on_workers > before.on_workers
    assert stats().on_replicas == before.on_replicas + 1

    rows = models.ROWS
    active = [row["name"] for row in rows["users"] if row["active"]]
    names = page.names
    assert sorted(user.name for user in names["active"]) == active
    assert names["latest"].open
    assert names["results"]["user"].name == "User 07"
    assert names["results"]["total"] == sum(row["total"] for row in rows["orders"])
    assert names["names"] == sorted(row["name"] for row in rows["users"])
    assert sorted(user.id for user in names["first_users"]) == list(range(1, 10))
    assert len(names["some_items"][0]) == 5
    assert names["some_items"][1] == names["number"] == models.ITEMS
    assert names["result"].scalar_one() == 1
    assert [item.id for item in names["items"].scalars()] == [1, 2, 3, 4, 5]
    assert names["numbers"].at_home["asked to by an execution option"] >= 1

    with Session(names["engine"]) as session:
        assert session.get_one(Item, 1).name == "first"
        assert session.get_one(Item, 2).name == "second"
        total = func.sum(Order.total)
        best = session.execute(
            select(User.name, total)
            .join(User.orders)
            .group_by(User.id, User.name)
            .order_by(total.desc(), User.id)
            .limit(1)
        ).one()
        assert names["best"] == tuple(best)

    answer = names["app"].test_client().get("/dashboard")
    assert answer.status_code == 200
    found = answer.get_json()
    assert sorted(found["users"]) == active
    assert sorted(found["orders"]) == [row["id"] for row in rows["orders"] if row["open"]]
    assert found["items"] == models.ITEMS
    assert ("Tenants" in names) == (database.family == "postgresql")


@pytest.mark.databases("postgresql")
def test_the_pages_tenant_is_set_on_every_connection_and_its_statements_leave(
    page: Page, engine: Engine
) -> None:
    set_in: dict[int, str] = {}  # by connection of the database, in its open transaction
    seen: list[str | None] = []

    def on_begin(connection: Connection) -> None:
        set_in.pop(id(connection.connection.dbapi_connection), None)

    def on_statement(
        connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        key = id(connection.connection.dbapi_connection)
        if "set_config('app.tenant'" in statement:
            set_in[key] = parameters["tenant"]
        elif "\nFROM " in statement:
            seen.append(set_in.get(key))

    page.run()
    limit_connections(engine, 0)  # the page has set one
    event.listen(engine, "begin", on_begin)
    event.listen(engine, "before_cursor_execute", on_statement)
    before = stats()
    with page.names["Tenants"](info={"tenant": "43"}) as session:
        users, orders = page.names["run_in_parallel"](
            [select(User), select(Order)],
            session=session,
            timeout=PATIENCE,  # so that workers do it all
        )
        assert (len(users.all()), len(orders.all())) == (models.USERS, models.ORDERS)
    assert seen == ["43", "43"]
    assert stats().on_workers == before.on_workers + 2
    assert stats().at_home == before.at_home
