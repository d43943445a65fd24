"""snapshot="shared": all statements of a fan-out see one state of the database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from sqlalchemy import Engine, Select, event, func, insert, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session, selectinload

from commonpool import DeadlineExceeded, run_in_parallel
from commonpool.ext.sqlalchemy import prepare_connection, sessions, stats
from commonpool.testing import inline
from tests.helpers import wait_until
from tests.sqlalchemy.models import Item, Order, Tag, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sqlalchemy.databases import Database

pytestmark = pytest.mark.databases("postgresql")

ROUNDS = 100
PATIENCE = 30.0  # seconds; with a limit of time a caller leaves all calls to workers


def count_of(model: Any) -> Select[Any]:
    return select(func.count()).select_from(model)


PAIRED = [count_of(Item), count_of(Tag), count_of(Item), count_of(Tag)]


def counts(results: list[Any]) -> list[int]:
    return [result.scalar_one() for result in results]


def add_pair(engine: Engine) -> None:
    """One more row in each of two tables, at once for all who look."""
    with engine.begin() as connection:
        connection.execute(insert(Item), {"order_id": 1, "name": "new"})
        connection.execute(insert(Tag), {"name": "new"})


class Writer:
    """Adds pairs on a thread of its own for as long as the block runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.written = 0
        self._error: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                add_pair(self._engine)
                self.written += 1
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def level(name: str) -> dict[str, Any]:
    return {"execution_options": {"isolation_level": name}}


def idle_in_transactions(engine: Engine) -> int:
    """How many connections keep a transaction open and do nothing."""
    statement = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    )
    with engine.connect() as connection:
        return int(connection.scalar(statement) or 0)


TRANSACTIONS: dict[str, Callable[[Session], object]] = {
    "none_yet": lambda _session: None,
    "read_committed": lambda session: session.execute(select(1)).all(),
    "repeatable_read": lambda session: session.connection(**level("REPEATABLE READ")),
    "serializable": lambda session: session.connection(**level("SERIALIZABLE")),
    "autocommit": lambda session: session.connection(**level("AUTOCOMMIT")),
}


@pytest.mark.parametrize("begin", TRANSACTIONS.values(), ids=TRANSACTIONS.keys())
@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_all_statements_see_one_state_while_others_commit(
    begin: Callable[[Session], object],
    timeout: float | None,
    session: Session,
    make_engine: Callable[..., Engine],
) -> None:
    at_workers, seen = stats().on_workers, set()
    with Writer(make_engine()) as writer:
        wait_until(lambda: writer.written)
        for _ in range(ROUNDS):
            begin(session)
            items, tags, *again = counts(
                run_in_parallel(PAIRED, session=session, snapshot="shared", timeout=timeout)
            )
            session.rollback()
            assert again == [items, tags]
            seen.add(items - tags)
            assert len(seen) == 1
    assert stats().on_workers > at_workers
    assert writer.written > 1


def test_rows_that_are_loaded_for_others_are_of_the_same_state(
    session: Session, make_engine: Callable[..., Engine]
) -> None:
    tags_before = session.scalar(count_of(Tag))
    items_before = session.scalar(count_of(Item).where(Item.order_id == 1))
    assert tags_before is not None
    assert items_before is not None
    session.rollback()
    orders = select(Order).where(Order.id == 1).options(selectinload(Order.items))
    with Writer(make_engine()) as writer:
        wait_until(lambda: writer.written)
        for _ in range(ROUNDS):
            tags, order = run_in_parallel(
                [count_of(Tag), orders], session=session, snapshot="shared"
            )
            new_items = len(order.scalar_one().items) - items_before
            assert new_items == tags.scalar_one() - tags_before
            session.rollback()
            session.expunge_all()
    assert writer.written > 1


def test_a_state_of_now_is_seen_though_a_read_committed_session_began_before(
    session: Session, make_engine: Callable[..., Engine]
) -> None:
    (items,) = counts([session.execute(count_of(Item))])
    add_pair(make_engine())
    seen = counts(run_in_parallel(PAIRED, session=session, snapshot="shared"))
    assert seen[0] == items + 1


@pytest.mark.parametrize("name", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_a_session_that_keeps_a_snapshot_shares_its_own(
    name: str, timeout: float | None, session: Session, make_engine: Callable[..., Engine]
) -> None:
    session.connection(**level(name))
    before = [session.scalar(statement) for statement in PAIRED]
    add_pair(make_engine())
    at_workers = stats().on_workers
    shared = run_in_parallel(PAIRED, session=session, snapshot="shared", timeout=timeout)
    assert counts(shared) == before
    if timeout is not None:
        assert stats().on_workers > at_workers
    assert session.scalar(count_of(Tag)) == before[1]
    session.rollback()
    assert session.scalar(count_of(Tag)) == (before[1] or 0) + 1


def test_a_session_in_a_savepoint_shares_its_own_too(session: Session) -> None:
    session.connection(**level("REPEATABLE READ"))
    before = [session.scalar(statement) for statement in PAIRED]
    with session.begin_nested():
        assert counts(run_in_parallel(PAIRED, session=session, snapshot="shared")) == before
    assert session.scalar(count_of(Tag)) == before[1]


def test_a_caller_that_does_all_itself_sees_one_state(
    session: Session, make_engine: Callable[..., Engine]
) -> None:
    other = make_engine()
    orders = session.query(Order).filter(Order.id == 1)

    @event.listens_for(session, "do_orm_execute")
    def _(_state: object) -> None:
        add_pair(other)  # between any two statements, something is committed

    with inline():
        items, tags, again, _ = run_in_parallel(
            [*PAIRED[:3], orders], session=session, snapshot="shared"
        )
    assert items.scalar_one() == again.scalar_one()
    assert tags.scalar_one() > 0


@pytest.mark.parametrize("flushed", [False, True], ids=["pending", "flushed"])
def test_what_is_not_committed_cannot_be_part_of_a_new_snapshot(
    session: Session, engine: Engine, *, flushed: bool
) -> None:
    session.add(Tag(name="mine"))
    if flushed:
        session.flush()
    with pytest.raises(ValueError, match=r"snapshot='shared' cannot be kept.*uncommitted changes"):
        run_in_parallel(PAIRED, session=session, snapshot="shared")
    assert session.scalar(count_of(Tag).where(Tag.name == "mine")) == 1
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


@pytest.mark.parametrize("flushed", [False, True], ids=["pending", "flushed"])
def test_what_is_not_committed_is_seen_in_repeatable_read_with_nothing_newer(
    session: Session, engine: Engine, make_engine: Callable[..., Engine], *, flushed: bool
) -> None:
    session.connection(**level("REPEATABLE READ"))
    before = [session.scalar(statement) for statement in PAIRED]
    add_pair(make_engine())
    session.add(Tag(name="mine"))
    if flushed:
        session.flush()
    items, tags, *again = counts(run_in_parallel(PAIRED, session=session, snapshot="shared"))
    assert [items, tags] == [before[0], (before[1] or 0) + 1]
    assert again == [items, tags]
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (select(Tag).with_for_update(), "locks rows"),
        (insert(Tag).values(name="new"), "not a SELECT"),
    ],
    ids=["for_update", "insert"],
)
def test_what_has_to_run_on_the_sessions_own_connection_is_refused_before_it_runs(
    statement: Any, why: str, session: Session, engine: Engine
) -> None:
    with pytest.raises(ValueError, match=why):
        run_in_parallel([count_of(Tag), statement], session=session, snapshot="shared")
    session.rollback()
    assert session.scalar(count_of(Tag).where(Tag.name == "new")) == 0
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_afterwards_nothing_is_checked_out_and_no_transaction_is_left_open(
    session: Session, engine: Engine, make_engine: Callable[..., Engine]
) -> None:
    other = make_engine()
    for _ in range(5):
        run_in_parallel(PAIRED, session=session, snapshot="shared")
        wait_until(lambda: engine.pool.checkedout() == 0)
        assert not session.in_transaction() or session.rollback() is None
    assert idle_in_transactions(other) == 0


@pytest.mark.parametrize("name", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_after_an_error_nothing_is_checked_out_but_the_sessions_own(
    name: str,
    timeout: float | None,
    session: Session,
    engine: Engine,
    make_engine: Callable[..., Engine],
) -> None:
    other = make_engine()
    session.connection(**level(name))
    fails = select(text("1 / 0"))
    with pytest.raises(DBAPIError, match="division by zero"):
        run_in_parallel(
            [*PAIRED, fails, count_of(User)], session=session, snapshot="shared", timeout=timeout
        )
    wait_until(lambda: engine.pool.checkedout() == 1)
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)
    assert idle_in_transactions(other) == 0
    assert counts(run_in_parallel(PAIRED, session=session, snapshot="shared"))


def test_where_the_snapshot_cannot_be_exported_nothing_is_left_either(
    session: Session, engine: Engine
) -> None:
    session.connection(**level("REPEATABLE READ"))
    with pytest.raises(DBAPIError, match="division by zero"):
        session.execute(select(text("1 / 0")))
    with pytest.raises(DBAPIError, match="transaction is aborted"):
        run_in_parallel(PAIRED, session=session, snapshot="shared")
    wait_until(lambda: engine.pool.checkedout() == 1)
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_past_the_deadline_nothing_is_checked_out_and_the_exporter_is_closed(
    session: Session, engine: Engine, make_engine: Callable[..., Engine], database: Database
) -> None:
    other = make_engine()
    with pytest.raises(DeadlineExceeded):
        run_in_parallel(
            [database.endless(), count_of(Tag)], session=session, snapshot="shared", timeout=0.3
        )
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)
    assert idle_in_transactions(other) == 0


def test_the_connection_that_is_missing_is_explained_with_the_arithmetic(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.2)
    with Session(engine) as session:
        tags = session.scalar(count_of(Tag))
        with pytest.raises(NoConnection) as caught:
            run_in_parallel(PAIRED, session=session, snapshot="shared")
        notes = "\n".join(caught.value.__notes__)
        assert "one more connection than the session's own" in notes
        assert "Pool size: 1" in notes
        assert "1 are checked out" in notes
        assert session.scalar(count_of(Tag)) == tags
    wait_until(lambda: engine.pool.checkedout() == 0)


@pytest.mark.parametrize("begin", ["none_yet", "repeatable_read"])
def test_one_connection_is_enough_where_the_snapshot_needs_no_second(
    begin: str, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.2)
    with Session(engine) as session:
        TRANSACTIONS[begin](session)
        items, tags, *again = counts(run_in_parallel(PAIRED, session=session, snapshot="shared"))
        assert again == [items, tags]
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_connections_that_are_tried_before_use_take_the_snapshot_on(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(pool_pre_ping=True)
    for _ in range(3):  # a connection is only tried when it is used again
        with Session(engine) as session:
            items, tags, *again = counts(
                run_in_parallel(PAIRED, session=session, snapshot="shared", timeout=PATIENCE)
            )
            assert again == [items, tags]


def test_what_a_snapshot_did_to_a_connection_ends_with_it(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(pool_size=2, max_overflow=0)
    with Session(engine) as session:
        run_in_parallel(PAIRED, session=session, snapshot="shared")
    with engine.connect() as one, engine.connect() as two:
        assert {c.scalar(text("SHOW transaction_isolation")) for c in (one, two)} == {
            "read committed"
        }


@pytest.fixture
def _preparations() -> Iterator[None]:
    """Have what a test registers forgotten afterwards."""
    registered = sessions._prepare  # noqa: SLF001 (there is no way back)
    before = list(registered)
    yield
    registered[:] = before


def _become_tenant(connection: Any) -> None:
    connection.execute(text("SELECT set_config('app.tenant', 'Tag 1', true)"))


@pytest.mark.usefixtures("_preparations")
@pytest.mark.parametrize("listens", [False, True], ids=["prepared", "listening_too"])
@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
@pytest.mark.parametrize("snapshot", [None, "shared"], ids=["no_snapshot", "snapshot"])
def test_a_tenant_sees_its_own_rows_wherever_a_statement_runs(
    snapshot: str | None,
    timeout: float | None,
    session: Session,
    database: Database,
    make_engine: Callable[..., Engine],
    *,
    listens: bool,
) -> None:
    other = make_engine()
    with other.begin() as connection:
        connection.execute(
            text(
                "CREATE VIEW tenants_tags AS SELECT * FROM tags WHERE name = "
                "coalesce(nullif(current_setting('app.tenant', true), ''), name)"
            )
        )
    database.cleanup.callback(_drop, other, "VIEW tenants_tags")
    prepare_connection(lambda _info, connection: _become_tenant(connection))
    if listens:
        event.listen(session, "after_begin", lambda _s, _t, connection: _become_tenant(connection))
    else:
        _become_tenant(session.connection())
    seen = select(func.count()).select_from(table("tenants_tags"))
    results = run_in_parallel([seen] * 6, session=session, snapshot=snapshot, timeout=timeout)
    assert counts(results) == [1] * 6


@pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["helping", "at_workers"])
def test_the_schemas_that_a_session_has_chosen_are_read_wherever_a_statement_runs(
    timeout: float | None, session: Session, make_engine: Callable[..., Engine], database: Database
) -> None:
    other = make_engine()
    with other.begin() as connection:
        connection.execute(text("CREATE SCHEMA tenant"))
        connection.execute(text("CREATE TABLE tenant.tags AS SELECT * FROM tags LIMIT 1"))
    database.cleanup.callback(_drop, other, "SCHEMA tenant CASCADE")
    for _ in range(10):
        session.connection(execution_options={"schema_translate_map": {None: "tenant"}})
        seen = run_in_parallel(
            [count_of(Tag), count_of(Tag)], session=session, snapshot="shared", timeout=timeout
        )
        session.rollback()
        assert counts(seen) == [1, 1]


def _drop(engine: Engine, what: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"DROP {what}"))


@pytest.mark.databases("mariadb")
def test_mariadb_cannot_share_a_snapshot(session: Session, engine: Engine) -> None:
    with pytest.raises(ValueError, match="MySQL and MariaDB cannot share"):
        run_in_parallel(PAIRED, session=session, snapshot="shared")
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


@pytest.mark.databases("sqlite")
def test_sqlite_cannot_share_a_snapshot(session: Session, engine: Engine) -> None:
    with pytest.raises(ValueError, match="SQLite cannot share"):
        run_in_parallel(PAIRED, session=session, snapshot="shared")
    session.rollback()
    wait_until(lambda: engine.pool.checkedout() == 0)


@pytest.mark.databases
@pytest.mark.parametrize("snapshot", ["other", "", True, 1])
def test_a_snapshot_of_another_kind_is_an_error(snapshot: Any, session: Session) -> None:
    with pytest.raises(ValueError, match="snapshot must be 'shared' or None"):
        run_in_parallel(PAIRED, session=session, snapshot=snapshot)


@pytest.mark.databases("sqlite")
def test_a_snapshot_of_callables_alone_is_an_error(session: Session) -> None:
    ran = []
    with pytest.raises(TypeError, match="snapshot= is for statements and queries"):
        run_in_parallel([lambda: ran.append(1)] * 2, session=session, snapshot="shared")
    assert ran == []


def test_callables_may_stand_beside_the_statements(session: Session) -> None:
    items, seven, tags = run_in_parallel(
        [count_of(Item), lambda: 7, count_of(Tag)], session=session, snapshot="shared"
    )
    assert (seven, items.scalar_one() > 0, tags.scalar_one() > 0) == (7, True, True)
