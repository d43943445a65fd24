"""What another connection would not see, or would see differently, runs on the session's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    SingletonThreadPool,
    StaticPool,
    column,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commonpool import current_executor, run_in_parallel
from commonpool.ext.sqlalchemy import prepare_connection, sessions, stats
from commonpool.ext.sqlalchemy.stats import Reason
from tests.helpers import wait_until
from tests.sqlalchemy.asking import DECIDING_WAYS, LIMIT
from tests.sqlalchemy.databases import Database
from tests.sqlalchemy.models import Base, Order, Tag, User, currencies

Way = Callable[[Any, Session], Any]

of_ways = pytest.mark.parametrize("way", DECIDING_WAYS, ids=lambda way: way.__name__)
of_timeouts = pytest.mark.parametrize("timeout", [None, LIMIT])

TAGS = select(Tag.id, Tag.name).order_by(Tag.id)
COUNT = select(func.count()).select_from(Tag)
NEW = {"id": 90, "name": "new"}


class Counted:
    """What was counted since it was made."""

    def __init__(self) -> None:
        self._before = stats()

    def at_home(self) -> dict[Reason, int]:
        before = self._before.at_home
        return {
            Reason(name): number - before.get(name, 0)
            for name, number in stats().at_home.items()
            if number != before.get(name, 0)
        }

    def left(self) -> int:
        now = stats()
        return now.on_workers + now.by_callers - self._before.on_workers - self._before.by_callers


def names(session: Session, number: int = 3, timeout: float | None = None) -> list[list[str]]:
    found = run_in_parallel([TAGS] * number, session=session, timeout=timeout)
    return [[row.name for row in result] for result in found]


# Changes that are not committed

CHANGES: dict[str, Callable[[Session], Any]] = {
    "pending": lambda s: s.add(Tag(**NEW)),
    "dirty": lambda s: setattr(s.get(Tag, 1), "name", "changed"),
    "deleted": lambda s: s.delete(s.get(Tag, 8)),
    "flushed": lambda s: (s.add(Tag(**NEW)), s.flush()),
    "a dirty one flushed": lambda s: (setattr(s.get(Tag, 1), "name", "changed"), s.flush()),
    "a deleted one flushed": lambda s: (s.delete(s.get(Tag, 8)), s.flush()),
    "INSERT": lambda s: s.execute(insert(Tag).values(**NEW)),
    "INSERT of many": lambda s: s.execute(insert(Tag), [NEW, {"id": 91, "name": "newer"}]),
    "UPDATE": lambda s: s.execute(update(Tag).values(name="changed")),
    "UPDATE of objects": lambda s: s.query(Tag).filter_by(id=2).update({"name": "changed"}),
    "DELETE": lambda s: s.execute(delete(Base.metadata.tables["order_tags"])),
    "text": lambda s: s.execute(text("UPDATE tags SET name = 'changed'")),
    "text after a comment": lambda s: s.execute(text("/* SELECT */ UPDATE tags SET name = 'c'")),
    "on its connection": lambda s: s.connection().execute(update(Tag).values(name="changed")),
    "SQL of the driver": lambda s: s.connection().exec_driver_sql("UPDATE tags SET name = 'c'"),
    "in a savepoint": lambda s: s.begin_nested().session.execute(update(Tag).values(name="c")),
    "bulk": lambda s: s.bulk_insert_mappings(Tag, [NEW]),
    "merge": lambda s: s.merge(Tag(id=1, name="merged")),
}


@of_timeouts
@pytest.mark.parametrize("name", CHANGES)
def test_the_session_sees_its_own_changes(engine: Engine, name: str, timeout: float | None) -> None:
    change = CHANGES[name]
    with Session(engine) as session:
        change(session)
        wanted = [[row.name for row in session.execute(TAGS)] for _ in range(3)]
        session.rollback()
    with Session(engine) as session:
        change(session)
        counted = Counted()
        assert names(session, timeout=timeout) == wanted
        assert counted.at_home() == {Reason.CHANGES: 3}
        assert counted.left() == 0
        session.rollback()
        counted = Counted()
        assert names(session, timeout=timeout) == [[f"Tag {n}" for n in range(1, 9)]] * 3
        assert counted.left() == 3
        assert counted.at_home() == {}


@of_ways
def test_every_way_sees_them(session: Session, way: Way) -> None:
    session.add(Tag(**NEW))
    assert way(COUNT, session).scalar() == 9
    assert way(session.query(Tag).count, session) == 9
    assert len(way(session.query(Tag), session)) == 9
    assert way(partial(session.scalar, COUNT), session) == 9
    assert way(partial(session.get, Tag, 90), session).name == "new"


@of_ways
@pytest.mark.parametrize("end", [Session.commit, Session.rollback, Session.close])
def test_statements_leave_again_when_the_transaction_is_over(
    session: Session, way: Way, end: Callable[[Session], None]
) -> None:
    for _ in range(2):
        session.execute(update(Tag).values(name="changed"))
        counted = Counted()
        way(TAGS, session)
        assert (counted.left(), counted.at_home()) == (0, {Reason.CHANGES: 1})
        end(session)
        counted = Counted()
        way(TAGS, session)
        assert (counted.left(), counted.at_home()) == (1, {})
        end(session)


def test_reads_keep_nothing_at_home(session: Session) -> None:
    session.execute(TAGS).all()
    session.get(Tag, 1)
    session.execute(text("SELECT 1"))
    counted = Counted()
    names(session)
    assert (counted.left(), counted.at_home()) == (3, {})


def test_a_rolled_back_savepoint_leaves_what_was_before(session: Session) -> None:
    session.execute(update(Tag).where(Tag.id == 1).values(name="kept"))
    with session.begin_nested() as savepoint:
        session.execute(update(Tag).where(Tag.id == 2).values(name="gone"))
        assert names(session)[0][:2] == ["kept", "gone"]
        savepoint.rollback()
    assert names(session) == [["kept", *(f"Tag {n}" for n in range(2, 9))]] * 3


def test_a_change_between_two_fan_outs_is_seen(session: Session) -> None:
    assert names(session, 1)[0][0] == "Tag 1"
    session.get(Tag, 1).name = "changed"  # type: ignore[union-attr]
    assert names(session)[2][0] == "changed"
    session.commit()
    assert names(session)[2][0] == "changed"


def test_autoflush_off_is_respected(engine: Engine) -> None:
    with Session(engine, autoflush=False) as session:
        session.add(Tag(**NEW))
        assert [len(found) for found in names(session)] == [8] * 3
        session.flush()
        assert [len(found) for found in names(session)] == [9] * 3


# Writes among what is asked


@of_timeouts
@pytest.mark.parametrize("end", [Session.commit, Session.rollback])
def test_a_write_in_the_list_keeps_its_place(
    engine: Engine, session: Session, timeout: float | None, end: Callable[[Session], None]
) -> None:
    # (-1 on PostgreSQL, where the row comes back)
    inserted = session.execute(insert(Tag).values(**NEW)).rowcount
    session.rollback()
    counted = Counted()
    found = run_in_parallel(
        [
            COUNT,
            insert(Tag).values(**NEW),
            COUNT,
            update(Tag).where(Tag.id > 5).values(name="changed"),
            TAGS,
            session.query(Tag).filter_by(id=90).delete,
            session.query(Tag).count,
            text("UPDATE tags SET name = 'text' WHERE id = 1"),
            select(Tag.name).where(Tag.id == 1),
        ],
        session=session,
        timeout=timeout,
    )
    assert found[0].scalar() == 8
    assert found[1].rowcount == inserted
    assert found[2].scalar() == 9
    assert found[3].rowcount == 4
    assert [row.name for row in found[4]][5:] == ["changed"] * 4
    assert found[5] == 1
    assert found[6] == 8
    assert found[7].rowcount == 1
    assert found[8].scalar() == "text"
    assert counted.left() == 1
    assert counted.at_home() == {Reason.NOT_A_SELECT: 1, Reason.CHANGES: 7}
    end(session)
    with Session(engine) as other:
        name = other.scalar(select(Tag.name).where(Tag.id == 6))
    assert name == ("changed" if end is Session.commit else "Tag 6")


def test_a_write_is_submitted_and_belongs_to_the_session(session: Session) -> None:
    wanted = session.execute(insert(Tag).values(**NEW)).rowcount
    session.rollback()
    future = current_executor().submit(session.execute, insert(Tag).values(**NEW))
    assert future.result().rowcount == wanted
    assert current_executor().submit(session.scalar, COUNT).result() == 9
    session.rollback()
    assert current_executor().submit(session.scalar, COUNT).result() == 8


@pytest.mark.databases("sqlite", "postgresql")
def test_what_a_write_returns_comes_back(session: Session) -> None:
    found = run_in_parallel(
        [
            insert(Tag).values(**NEW).returning(Tag),
            select(Tag).where(Tag.id == 90),
            update(Tag).where(Tag.id == 1).values(name="changed").returning(Tag.id, Tag.name),
        ],
        session=session,
    )
    new = found[0].scalar_one()
    assert found[1].scalar_one() is new
    assert found[2].one() == (1, "changed")


def test_many_rows_written_in_the_list(session: Session) -> None:
    rows = [{"id": n, "name": f"Tag {n}"} for n in range(100, 160)]
    first, _, second = run_in_parallel(
        [COUNT, partial(session.execute, insert(Tag), rows), COUNT], session=session
    )
    assert (first.scalar(), second.scalar()) == (8, 68)


def test_an_error_in_a_write_is_the_sessions(session: Session) -> None:
    with pytest.raises(IntegrityError):
        run_in_parallel([TAGS, insert(Tag).values(id=1, name="twice"), TAGS], session=session)
    session.rollback()
    assert names(session, 1)[0][0] == "Tag 1"


def test_rows_that_are_locked_are_locked_by_the_session(
    engine: Engine, session: Session, database: Database
) -> None:
    counted = Counted()
    found = run_in_parallel(
        [select(Tag).with_for_update(), session.query(Tag).with_for_update(read=True), TAGS],
        session=session,
    )
    assert len(found[0].all()) == 8
    assert len(found[1]) == 8
    assert counted.at_home() == {Reason.LOCKS_ROWS: 2}
    if not database.has_server:
        return
    with Session(engine) as other:
        locked = select(Tag).with_for_update(nowait=True)
        with pytest.raises(Exception, match=r"(?i)lock"):
            other.execute(locked)
        other.rollback()
        session.rollback()
        assert len(other.execute(locked).all()) == 8


# What is asked for, and what tells of its connection


@of_ways
def test_an_option_keeps_a_statement_at_home(session: Session, way: Way) -> None:
    for thing in (
        TAGS.execution_options(run_in_caller=True),
        session.query(Tag).execution_options(run_in_caller=True),
        partial(session.execute, TAGS, execution_options={"run_in_caller": True}),
    ):
        counted = Counted()
        way(thing, session)
        assert (counted.left(), counted.at_home()) == (0, {Reason.ASKED: 1})


@pytest.mark.databases("mariadb", "postgresql")
def test_temporary_tables_are_seen_where_they_are_written(session: Session) -> None:
    session.execute(text("CREATE TEMPORARY TABLE mine (n INT)"))
    session.execute(text("INSERT INTO mine VALUES (7)"))
    mine = table("mine", column("n"))
    assert [r.scalar() for r in run_in_parallel([select(mine)] * 3, session=session)] == [7] * 3


@pytest.mark.databases("mariadb", "postgresql")
def test_a_statement_about_the_connection_is_about_the_session_s(
    session: Session, database: Database
) -> None:
    name = "pg_backend_pid" if database.family == "postgresql" else "connection_id"
    own = session.scalar(text(f"SELECT {name}()"))
    asked = [
        select(getattr(func, name)()),
        text(f"SELECT {name}()"),
        select(literal_column(f"{name}()")),
        partial(session.scalar, text(f"SELECT {name.upper()} ()")),
    ]
    found = run_in_parallel(asked, session=session, timeout=LIMIT)
    assert [getattr(value, "scalar", lambda v=value: v)() for value in found] == [own] * 4


# Sessions on a connection, and databases in one


@of_ways
def test_a_session_on_a_connection_sees_what_that_sees(engine: Engine, way: Way) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        connection.execute(insert(Tag).values(**NEW))
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            counted = Counted()
            assert way(COUNT, session).scalar() == 9
            assert counted.at_home() == {Reason.BOUND: 1}
            assert [len(found) for found in names(session)] == [9] * 3
            session.commit()
            assert [len(found) for found in names(session)] == [9] * 3
        outer.rollback()
        with Session(connection) as session:
            assert way(COUNT, session).scalar() == 8


@pytest.mark.parametrize("pool", [None, StaticPool, SingletonThreadPool])
@of_ways
def test_a_database_in_memory_is_in_its_connection(way: Way, pool: Any) -> None:
    options = {"poolclass": pool} if pool else {}
    if pool is StaticPool:
        options["connect_args"] = {"check_same_thread": False}
    engine = create_engine("sqlite://", **options)
    try:
        with Session(engine) as session:
            Tag.__table__.create(session.connection())  # type: ignore[attr-defined]
            session.add(Tag(id=1, name="the only one"))
            session.commit()
            counted = Counted()
            assert way(select(Tag), session).scalars().one().name == "the only one"
            assert names(session) == [["the only one"]] * 3
            assert counted.at_home() == {Reason.ONE_CONNECTION: 4}
            assert counted.left() == 0
    finally:
        engine.dispose()


def test_without_a_pool_statements_leave_and_connections_are_closed(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(poolclass=NullPool)
    opened: list[Any] = []
    closed: list[Any] = []
    event.listen(engine, "connect", lambda c, _r: opened.append(c))
    event.listen(engine, "close", lambda c, _r: closed.append(c))
    with Session(engine) as session:
        counted = Counted()
        assert [len(found) for found in names(session, 12)] == [8] * 12
        assert counted.left() == 12
    wait_until(lambda: len(opened) == len(closed))


@pytest.mark.databases("sqlite")
def test_what_is_attached_to_one_connection_is_not_in_another(
    session: Session, tmp_path: Any
) -> None:
    path = tmp_path / "other.db"
    other = create_engine(f"sqlite:///{path}")
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE tags (id INTEGER, name TEXT)"))
        connection.execute(text("INSERT INTO tags VALUES (1, 'attached')"))
    other.dispose()
    session.execute(text(f"ATTACH '{path}' AS other"))
    attached = select(Tag.name).execution_options(schema_translate_map={None: "other"})
    found = run_in_parallel([attached] * 3, session=session)
    assert [result.scalar() for result in found] == ["attached"] * 3


# What the session's connection was given


@pytest.mark.databases("mariadb", "postgresql")
@of_ways
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_the_isolation_level_is_taken_on(engine: Engine, way: Way, level: str) -> None:
    levels: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if "tags" in statement:
            levels.append(connection.get_isolation_level())

    with Session(engine) as session:
        session.connection(execution_options={"isolation_level": level})
        way(TAGS, session)
        assert levels == [level]
    with Session(engine) as session:
        del levels[:]
        names(session, timeout=LIMIT)
        default = engine.dialect.default_isolation_level
        assert levels == [default] * 3


@pytest.mark.databases("postgresql")
def test_the_schemas_of_the_session_s_connection_are_taken_on(engine: Engine) -> None:
    try:
        with engine.begin() as connection:
            for schema in ("one", "other"):
                connection.execute(text(f"CREATE SCHEMA {schema}"))
                connection.execute(text(f"CREATE TABLE {schema}.tags (id INT, name TEXT)"))
                connection.execute(text(f"INSERT INTO {schema}.tags VALUES (1, '{schema}')"))
        for _ in range(5):
            for schema in ("one", "other"):
                translated = {"schema_translate_map": {None: schema}}
                with Session(engine) as session:
                    session.connection(execution_options=translated)
                    assert names(session, timeout=LIMIT) == [[schema]] * 3
                with Session(engine) as session:
                    found = run_in_parallel(
                        [TAGS.execution_options(**translated), TAGS], session=session, timeout=LIMIT
                    )
                    assert [len(result.all()) for result in found] == [1, 8]
                with Session(engine.execution_options(**translated)) as session:
                    assert names(session, timeout=LIMIT) == [[schema]] * 3
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA IF EXISTS one CASCADE"))
            connection.execute(text("DROP SCHEMA IF EXISTS other CASCADE"))


@pytest.mark.databases("postgresql")
def test_a_setting_of_the_session_s_connection_keeps_statements_there(session: Session) -> None:
    session.execute(text("SET search_path TO pg_catalog"))
    counted = Counted()
    found = run_in_parallel([text("SELECT to_regclass('tags') IS NULL")] * 3, session=session)
    assert [result.scalar() for result in found] == [True] * 3
    assert counted.left() == 0


# Listeners that set a connection up


def test_a_listener_for_the_begin_keeps_all_at_home(session: Session) -> None:
    begun: list[Any] = []

    @event.listens_for(session, "after_begin")
    def _(_session: Session, _transaction: Any, connection: Connection) -> None:
        begun.append(connection)
        connection.execute(text("SELECT 1"))

    counted = Counted()
    assert [len(found) for found in names(session)] == [8] * 3
    assert counted.at_home() == {Reason.AFTER_BEGIN: 3}
    assert counted.left() == 0
    assert len(begun) == 1
    assert type(begun[0]) is Connection


TENANTS = ("red", "blue")


@pytest.fixture
def secret(engine: Engine) -> Iterator[Any]:
    """A table of which a connection sees the rows of its tenant."""
    with engine.begin() as connection:
        if connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.fail("this role sees all rows, whatever the policies say")
        for statement in (
            "CREATE TABLE secrets (id INT PRIMARY KEY, tenant TEXT NOT NULL)",
            """INSERT INTO secrets
               SELECT n, CASE n % 2 WHEN 0 THEN 'red' ELSE 'blue' END
               FROM generate_series(1, 100) n""",
            "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE secrets FORCE ROW LEVEL SECURITY",
            """CREATE POLICY own ON secrets USING
               (tenant = pg_catalog.current_setting('app.tenant', true))""",
        ):
            connection.execute(text(statement))
    yield table("secrets", column("id"), column("tenant"))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE secrets"))


def set_tenant(connection: Connection, tenant: str) -> None:
    connection.execute(text("SELECT set_config('app.tenant', :t, true)"), {"t": tenant})


def requests_of_tenants(engine: Engine, secret: Any) -> list[tuple[str, list[list[str]]]]:
    """A hundred requests of two tenants; what each has seen."""

    def request(number: int) -> tuple[str, list[list[str]]]:
        tenant = TENANTS[number % 2]
        with Session(engine, info={"tenant": tenant}) as session:

            @event.listens_for(session, "after_begin")
            def _(session: Session, _transaction: Any, connection: Connection) -> None:
                set_tenant(connection, session.info["tenant"])

            found = run_in_parallel(
                [
                    select(secret.c.tenant),
                    session.query(secret.c.tenant).filter(secret.c.id > 0).all,
                    text("SELECT tenant FROM secrets WHERE id <= 100"),
                ],
                session=session,
                timeout=LIMIT if number % 3 else None,
            )
            return tenant, [[row.tenant for row in result] for result in found]

    return list(current_executor().map(request, range(100)))


@pytest.mark.databases("postgresql")
def test_without_being_told_how_a_tenant_s_statements_stay_at_home(
    engine: Engine, secret: Any
) -> None:
    counted = Counted()
    for tenant, seen in requests_of_tenants(engine, secret):
        assert seen == [[tenant] * 50] * 3
    assert counted.at_home() == {Reason.AFTER_BEGIN: 300}
    assert counted.left() == 0


@pytest.mark.databases("postgresql")
def test_a_prepared_connection_shows_a_tenant_s_rows_and_no_other(
    engine: Engine, secret: Any
) -> None:
    def prepare(info: dict[Any, Any], connection: Connection) -> None:
        set_tenant(connection, info["tenant"])

    prepare_connection(prepare)
    try:
        counted = Counted()
        for tenant, seen in requests_of_tenants(engine, secret):
            assert seen == [[tenant] * 50] * 3
        assert counted.at_home() == {}
        assert counted.left() == 300
        with engine.connect() as connection:
            assert connection.execute(select(secret)).all() == []  # no tenant, no rows
    finally:
        sessions._prepare.remove(prepare)  # noqa: SLF001 - there is no other way


@pytest.mark.databases("postgresql")
def test_a_connection_that_cannot_be_prepared_shows_nothing(engine: Engine, secret: Any) -> None:
    def prepare(_info: dict[Any, Any], _connection: Connection) -> None:
        raise LookupError("no tenant")

    prepare_connection(prepare)
    try:
        with Session(engine) as session, pytest.raises(LookupError, match="no tenant"):
            run_in_parallel([select(secret)], session=session, timeout=LIMIT)
    finally:
        sessions._prepare.remove(prepare)  # noqa: SLF001 - there is no other way
    wait_until(lambda: engine.pool.checkedout() == 0)


# All of it together


def test_sessions_that_write_and_sessions_that_read_do_not_mix(
    engine: Engine, database: Database
) -> None:
    if database.family == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def view(number: int) -> list[Any]:
        with Session(engine) as session:
            if number % 2:
                session.execute(insert(currencies).values(code=f"X{number:02}", rate=number))
            found = run_in_parallel(
                [select(currencies.c.code), select(func.count(Order.id)), select(User.id)],
                session=session,
            )
            codes = [row.code for row in found[0] if row.code.startswith("X")]
            assert found[1].scalar() == 200
            assert len(found[2].all()) == 50
            session.rollback()
            return codes

    wanted = [[f"X{n:02}"] if n % 2 else [] for n in range(40)]
    assert list(current_executor().map(view, range(40))) == wanted
    wait_until(lambda: engine.pool.checkedout() == 0)
