"""Everything at once: 32 request threads, fan-outs at random, five connections.

``STRESS_SECONDS`` says for how long; a minute by default.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, joinedload, selectinload

from commonpool import OwnerExecutor, PoolConfig, process, run_in_parallel
from commonpool.ext.sqlalchemy import stats
from commonpool.owner import current
from tests.helpers import wait_until
from tests.sqlalchemy.models import ITEMS, ORDERS, ROWS, USERS, Item, Order, User

SECONDS = float(os.environ.get("STRESS_SECONDS", "60"))
REQUEST_THREADS = 32
LIMIT = 60  # seconds that anything may take, on a machine that does other things, too

NAMES = [row["name"] for row in ROWS["users"]]
OF_USER = Counter(row["user_id"] for row in ROWS["orders"])
OF_ORDER = Counter(row["order_id"] for row in ROWS["items"])


def count_of(entity, right):
    return select(func.count()).select_from(entity), lambda result: result.scalar_one() == right


def names(_rng):
    return select(User).order_by(
        User.id
    ), lambda result: [u.name for u in result.scalars()] == NAMES


def counts(rng):
    return count_of(*rng.choice([(User, USERS), (Order, ORDERS), (Item, ITEMS)]))


def one(rng):
    number = rng.randint(1, USERS)
    return (
        select(User).where(User.id == number),
        lambda result: result.scalar_one().name == NAMES[number - 1],
    )


def with_orders(rng):
    number = rng.randint(1, USERS)
    return (
        select(User).where(User.id == number).options(selectinload(User.orders)),
        lambda result: len(result.scalar_one().orders) == OF_USER[number],
    )


def with_items(rng):
    number = rng.randint(1, ORDERS)
    return (
        select(Order).where(Order.id == number).options(joinedload(Order.items)),
        lambda result: len(result.unique().scalar_one().items) == OF_ORDER[number],
    )


def plain(rng):
    number = rng.randint(1, 1_000_000)
    return (
        text("SELECT :number AS number").bindparams(number=number),
        lambda result: int(result.scalar_one()) == number,
    )


KINDS = [names, counts, one, with_orders, with_items, plain]


def request(engine, rng):
    """One request: some fan-outs in a session, now and then with a write before."""
    executor = OwnerExecutor(time.monotonic() + LIMIT)
    token = current.set(executor)
    try:
        with Session(engine) as session:
            writes = rng.random() < 0.1
            if writes:  # it is seen by its own session, and rolled back
                session.execute(text("UPDATE users SET active = active WHERE id = 0"))
            for _ in range(rng.randint(1, 3)):
                asked = [rng.choice(KINDS)(rng) for _ in range(rng.randint(1, 8))]
                results = run_in_parallel([thing for thing, _ in asked], session=session)
                for (thing, is_right), result in zip(asked, results, strict=True):
                    assert is_right(result), thing
            future = executor.submit(session.query(Item).count)
            if rng.random() < 0.9:
                assert future.result() == ITEMS
    finally:
        executor.end()
        current.reset(token)


@pytest.mark.databases("mariadb", "postgresql")
@pytest.mark.usefixtures("own_pace")
@pytest.mark.timeout(SECONDS + 240)
def test_a_minute_of_everything_gives_no_error_no_wrong_row_and_leaves_nothing(database):
    seconds = SECONDS if database.name == "mariadb-mysqlclient" else min(SECONDS, 5)
    process.configure(PoolConfig(max_workers=16))
    engine = database.make_engine(pool_size=5, max_overflow=0, pool_timeout=LIMIT)
    before = stats()
    ends_at = time.monotonic() + seconds
    errors: list[BaseException] = []
    served = Counter()

    def serve(number):
        rng = random.Random(number)
        while time.monotonic() < ends_at and not errors:
            try:
                request(engine, rng)
                served[number] += 1
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=serve, args=(n,)) for n in range(REQUEST_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert len(served) == REQUEST_THREADS  # nobody was starved
    wait_until(lambda: engine.pool.checkedout() == 0)
    wait_until(lambda: not database.statements_running())
    wait_until(lambda: process.current_pool().stats().busy == 0)
    after = process.current_pool().stats()
    assert (after.queued, after.abandoned, after.owners_waiting) == (0, 0, 0)
    assert stats().on_workers > before.on_workers
