"""All rows are there, and right, though their connection is another's by the time they are read."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    insert,
    select,
    text,
)
from sqlalchemy.orm import Session

from commonpool import run_in_parallel
from commonpool.ext.sqlalchemy import stats
from tests.helpers import wait_until
from tests.sqlalchemy.asking import LIMIT, WAYS
from tests.sqlalchemy.models import ITEMS, ORDERS, Item, Order, User

Way = Callable[[Any, Session], Any]

MANY = ITEMS * ORDERS  # a hundred thousand
THREADS = 10
BLOBS, BLOB_SIZE = 6, 1_000_000  # bytes

of_ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)

STREAMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stream_results": {"stream_results": True},
    "a small buffer": {"stream_results": True, "max_row_buffer": 7},
    "yield_per": {"yield_per": 1000},
}

of_streams = pytest.mark.parametrize("options", STREAMS.values(), ids=list(STREAMS))


def series(first: int = 1, last: int = MANY) -> Select[Any]:
    """Numbers in order, each with a name: the pairs of all items and all orders."""
    number = (Item.id - 1) * ORDERS + Order.id
    return (
        select(number.label("n"), Item.name)
        .select_from(Item.__table__.join(Order.__table__, number.between(first, last)))
        .order_by(number)
    )


def checksum(rows: Any) -> tuple[int, int]:
    """How many, and a checksum over all in their order."""
    count = total = 0
    for n, name in rows:
        total = zlib.crc32(f"{n} {name}".encode(), total)
        count += 1
    return count, total


@cache
def right(first: int = 1, last: int = MANY) -> tuple[int, int]:
    return checksum((n, f"Item {(n - 1) // ORDERS + 1:03}") for n in range(first, last + 1))


@of_streams
def test_a_hundred_thousand_rows_are_all_there(engine: Engine, options: dict[str, Any]) -> None:
    with Session(engine) as session:
        found = run_in_parallel(
            [series().execution_options(**options)] * 2, session=session, timeout=LIMIT
        )
        session.commit()
        assert [checksum(result) for result in found] == [right()] * 2


@of_ways
@of_streams
def test_streams_can_be_read_in_parts(engine: Engine, way: Way, options: dict[str, Any]) -> None:
    statement = series(1, 5000).execution_options(**options)
    with Session(engine) as session:
        result = way(statement, session)
        read = [result.fetchone(), *result.fetchmany(10)]
        assert session.execute(text("SELECT count(*) FROM users")).scalar() == 50
        read += [row for part in result.partitions(300) for row in part]
        assert checksum(read) == right(1, 5000)


@of_ways
def test_a_stream_that_is_not_read_to_its_end_is_in_nobody_s_way(engine: Engine, way: Way) -> None:
    statement = series(1, 3000).execution_options(stream_results=True)
    with Session(engine) as session:
        results = [way(statement, session) for _ in range(8)]
        for result in results:
            assert result.fetchone().n == 1
        results[0].close()
        session.commit()
        assert len(way(select(User), session).all()) == 50
        assert checksum(results[1].all()) != right(1, 3000)  # the first was taken
        assert results[1].fetchone() is None
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_connection_that_streams_all_is_taken_on_without_that(engine: Engine) -> None:
    with Session(engine) as session:
        session.connection(execution_options={"stream_results": True})
        found = run_in_parallel([series(1, 20_000)] * 3, session=session, timeout=LIMIT)
        session.rollback()
        assert [checksum(result) for result in found] == [right(1, 20_000)] * 3
    with Session(engine.execution_options(stream_results=True, max_row_buffer=9)) as session:
        found = run_in_parallel([series(1, 20_000)] * 3, session=session, timeout=LIMIT)
        session.rollback()
        assert [checksum(result) for result in found] == [right(1, 20_000)] * 3


@pytest.mark.databases("mariadb")
def test_cursors_in_the_server_are_read_to_their_ends(
    make_engine: Callable[..., Engine], engine: Engine
) -> None:
    dbapi: Any = engine.dialect.dbapi
    in_server = __import__(f"{dbapi.__name__}.cursors", fromlist=["SSCursor"]).SSCursor
    streaming = make_engine(connect_args={"cursorclass": in_server})
    with Session(streaming) as session:
        for _ in range(3):
            found = run_in_parallel(
                [series(1, 4000), select(User).order_by(User.id), series(10, 4010)],
                session=session,
                timeout=LIMIT,
            )
            assert checksum(found[0]) == right(1, 4000)
            assert [user.id for user in found[1].scalars()] == list(range(1, 51))
            assert checksum(found[2]) == right(10, 4010)
    wait_until(lambda: streaming.pool.checkedout() == 0)


def in_threads(view: Callable[[int], list[str]], rounds: int) -> list[str]:
    """What is wrong, of what ten threads have seen that all begin at once."""
    with ThreadPoolExecutor(THREADS) as threads:
        seen = list(threads.map(view, range(THREADS * rounds)))
    return [wrong for each in seen for wrong in each]


@of_streams
def test_rows_do_not_mix_when_threads_use_the_same_connections(
    make_engine: Callable[..., Engine], options: dict[str, Any]
) -> None:
    engine = make_engine(pool_size=5)
    before = stats()

    def view(number: int) -> list[str]:
        dice = random.Random(number)
        ranges = [
            (first, first + dice.choice((1, 50, 700, 3000)))
            for first in (dice.randrange(1, 90_000) for _ in range(4))
        ]
        with Session(engine) as session:
            found = run_in_parallel(
                [series(*ends).execution_options(**options) for ends in ranges],
                session=session,
                timeout=LIMIT if number % 2 else None,
            )
            return [
                f"{number}: rows {ends}"
                for ends, result in zip(ranges, found, strict=True)
                if checksum(result) != right(*ends)
            ]

    assert in_threads(view, rounds=4) == []
    assert stats().on_workers > before.on_workers
    wait_until(lambda: engine.pool.checkedout() == 0)


def content(number: int) -> bytes:
    return random.Random(number).randbytes(BLOB_SIZE)


@pytest.fixture
def blobs(engine: Engine) -> Iterator[Table]:
    """A table with a megabyte in each row."""
    table = Table(
        "blobs",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("content", LargeBinary(BLOB_SIZE), nullable=False),
    )
    table.create(engine)
    with engine.begin() as connection:
        for number in range(BLOBS):
            connection.execute(insert(table).values(id=number + 1, content=content(number + 1)))
    yield table
    table.drop(engine)


@pytest.mark.parametrize("options", [STREAMS["plain"], STREAMS["stream_results"]], ids=repr)
def test_blobs_are_whole(
    make_engine: Callable[..., Engine], blobs: Table, options: dict[str, Any]
) -> None:
    engine = make_engine(pool_size=5)
    sums = {number: zlib.crc32(content(number)) for number in range(1, BLOBS + 1)}

    def view(number: int) -> list[str]:
        with Session(engine) as session:
            found = run_in_parallel(
                [
                    select(blobs).where(blobs.c.id != number % BLOBS).order_by(blobs.c.id.desc()),
                    select(User).order_by(User.id),
                    select(blobs).where(blobs.c.id == number % BLOBS + 1),
                ],
                session=session,
                timeout=LIMIT if number % 2 else None,
            )
            rows = [*found[0], *found[2]]
            wrong = [f"{number}: {r.id}" for r in rows if zlib.crc32(r.content) != sums[r.id]]
            ids = [row.id for row in rows]
            wanted = [n for n in range(BLOBS, 0, -1) if n != number % BLOBS]
            if ids != [*wanted, number % BLOBS + 1]:
                wrong.append(f"{number}: {ids}")
            if len(found[1].all()) != 50:
                wrong.append(f"{number}: users")
            return wrong

    if options:
        engine = engine.execution_options(**options)
    assert in_threads(view, rounds=2) == []
    wait_until(lambda: engine.pool.checkedout() == 0)
