"""What is seen of a statement before it leaves its session's connection; no server is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    column,
    create_engine,
    delete,
    event,
    except_,
    exists,
    func,
    insert,
    intersect,
    lambda_stmt,
    lateral,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
    union,
    union_all,
    update,
    values,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.expression import ColumnElement, Executable, FunctionElement
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import UserDefinedType

from commonpool.ext.sqlalchemy.statements import (
    CONNECTION_FUNCTIONS,
    examine,
    reason_in_fragment,
    reason_in_sql,
)
from commonpool.ext.sqlalchemy.stats import Reason


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    active: Mapped[bool]
    updated_at: Mapped[int]
    orders: Mapped[list[Order]] = relationship(back_populates="user")


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    user: Mapped[User] = relationship(back_populates="orders")
    update_count: Mapped[int]
    insert_date: Mapped[int]
    for_update: Mapped[int]
    delete: Mapped[int]
    changes: Mapped[int]


class IntegerColumn(Column[int]):
    inherit_cache = True


item = Table(
    "item", MetaData(), Column("id", Integer), Column("lock in share mode", String), schema="update"
)
plain = Table("plain", MetaData(), IntegerColumn("id", Integer))
in_temp = Table("x", MetaData(), Column("id", Integer), schema="pg_temp")
of_sql_server = Table("#x", MetaData(), Column("id", Integer))


class soundex(GenericFunction[str]):  # noqa: N801  the name of the SQL function
    inherit_cache = True


class Whatever(ColumnElement[int]):
    inherit_cache = True


@compiles(Whatever)
def _whatever(*_args: Any, **_kw: Any) -> str:
    return "pg_advisory_lock(1)"


class LikeAFunction(FunctionElement[int]):
    name = "like_a_function"
    inherit_cache = True


class OwnStatement(Executable):
    inherit_cache = True


def tree() -> Any:
    top = select(item.c.id).where(item.c.id == 1).cte("tree", recursive=True)
    return select(top.union_all(select(item.c.id).join(top, top.c.id == item.c.id)))


def paged() -> Any:
    counted = select(Order.user_id, func.count().label("n")).group_by(Order.user_id).subquery()
    return (
        select(User, counted.c.n)
        .join(counted, counted.c.user_id == User.id)
        .where(exists().where(Order.user_id == User.id))
        .order_by(User.name.desc().nulls_last())
        .limit(10)
        .offset(20)
    )


MAY_LEAVE: dict[str, Any] = {
    "an entity": select(User).where(User.active),
    "columns": select(User.id, User.name),
    "columns with such names": select(
        Order.update_count, Order.insert_date, Order.for_update, Order.delete, Order.changes
    ).where(User.updated_at > 1),
    "names that have to be quoted": select(item),
    "labels with such names": select(User.id.label("for update"), User.name.label("nextval(1)")),
    "aggregates": select(func.count(), func.sum(Order.id), func.max(Order.id)),
    "ordinary functions": select(
        func.now(), func.coalesce(User.name, "x"), func.lower(User.name), func.replace("a", "b", "")
    ),
    "a function of a package": select(func.pg_catalog.lower("A")),
    "a generic function": select(func.soundex(User.name)),
    "a function as a table": select(func.generate_series(1, 3).table_valued("value")),
    "a function filtered and ordered": select(
        func.count().filter(User.active), func.mode().within_group(User.id)
    ),
    "joins": select(User, Order).join(User.orders).outerjoin(item, item.c.id == Order.id),
    "an alias": select(aliased(User)).where(User.active),
    "exists, subqueries, a page": paged(),
    "a recursive CTE": tree(),
    "a scalar subquery": select(select(func.max(Order.id)).scalar_subquery()),
    "a lateral": select(lateral(select(Order.id).where(Order.user_id == User.id)), User.id),
    "in_": select(User).where(User.id.in_([1, 2]), User.name.in_(["for update", "delete"])),
    "tuples": select(User).where(tuple_(User.id, User.name).in_([(1, "a")])),
    "union": union(select(User.id), select(Order.id)).order_by("id"),
    "union, intersect and except": union_all(
        intersect(select(User.id), select(Order.id)), except_(select(User.id), select(Order.id))
    ),
    "entities of a union": select(User).from_statement(union(select(User), select(User))),
    "windows": select(func.row_number().over(partition_by=User.name, order_by=User.id)),
    "case and cast": select(case((User.active, 1), else_=0), cast(User.id, String)),
    "literals": select(literal("delete from t"), literal(1), true(), column("x")),
    "bound values that look like code": select(User).where(User.name == "nextval('s') for update"),
    "a bound parameter": select(User).where(User.name == bindparam("update")),
    "and, or, not, between": select(User).where(
        and_(or_(User.id == 1, ~User.active), User.id.between(1, 2), User.name.like("%x%"))
    ),
    "loader options": select(User).options(selectinload(User.orders), joinedload(User.orders)),
    "loader criteria": select(User).options(with_loader_criteria(User, User.active)),
    "loader criteria of a lambda": select(User).options(
        with_loader_criteria(User, lambda cls: cls.active)
    ),
    "distinct, group by and having": select(User.name)
    .distinct()
    .group_by(User.name)
    .having(func.count() > 1),
    "a lambda statement": lambda_stmt(lambda: select(User).where(User.active)),
    "a lambda statement in two parts": lambda_stmt(lambda: select(User))
    + (lambda s: s.where(User.active)),
    "an unanalysed lambda statement": lambda_stmt(lambda: select(User)).spoil(),
    "a lambda in a where": select(User).where(lambda: User.active),
    "text": text("SELECT * FROM t WHERE a = :a"),
    "text with columns": text("SELECT id FROM t").columns(User.id),
    "entities of text": select(User).from_statement(text("SELECT * FROM users")),
    "entities of text with columns": select(User).from_statement(
        text("WITH a AS (SELECT 1) SELECT * FROM a").columns(User.id)
    ),
    "pieces of text": select(text("a, b")).select_from(text("t")).where(text("a > 1")),
    "a literal column": select(literal_column("'delete'"), literal_column("a + 1")),
    "an optimizer's hints": select(User)
    .prefix_with("/*+ BKA(t1) */", "HIGH_PRIORITY")
    .with_hint(User, "USE INDEX (ix_user)", "mysql")
    .with_hint(User, "WITH (NOLOCK)", "mssql")
    .with_statement_hint("OPTION (RECOMPILE)"),
    "values": select(
        values(column("id", Integer), name="v").data([(1,), (2,)]),
        values(column("s", String), name="w").data([("for update",)]),
    ),
    "a column of an own class": select(plain),
    "execution options": select(User).execution_options(why="SERIALIZABLE"),
}


@pytest.mark.parametrize("name", MAY_LEAVE)
def test_an_ordinary_select_may_leave(name):
    assert examine(MAY_LEAVE[name], {}) is None
    assert examine(MAY_LEAVE[name], {}) is None  # and so when it was examined before


WRITES: dict[str, Any] = {
    "insert": insert(User).values(id=1),
    "update": update(User).values(name="x"),
    "delete": delete(User),
    "insert returning": insert(User).returning(User.id),
    "DDL": CreateTable(item),
    "a function by itself": func.now(),
    "an executable of one's own": OwnStatement(),
    "no statement at all": "SELECT 1",
    "entities of an insert": select(User).from_statement(insert(User).returning(User)),
    "entities of an update": select(User).from_statement(
        update(User).values(name="x").returning(User)
    ),
    "a CTE that deletes": select(delete(item).returning(item.c.id).cte("gone")),
    "a CTE that is nowhere in the FROM": select(User).add_cte(
        insert(item).values(id=1).cte("added")
    ),
    "a CTE in a subquery": select(
        select(
            select(update(item).values(id=1).returning(item.c.id).cte("c")).subquery()
        ).subquery()
    ),
    "a CTE in a union": union(
        select(User.id), select(delete(item).returning(item.c.id).cte("gone").c.id)
    ),
    "a lambda that writes": lambda_stmt(lambda: delete(User)),
    "text that writes": text("UPDATE t SET a = 1"),
    "columns of text that writes": text("DELETE FROM t RETURNING id").columns(User.id),
    "entities of text that writes": select(User).from_statement(
        text("INSERT INTO t DEFAULT VALUES RETURNING *")
    ),
    "entities of text that is no select": select(User).from_statement(text("CALL p()")),
    "a CTE of text that writes": select(
        text("DELETE FROM t RETURNING id").columns(User.id).cte("gone")
    ),
    "a piece of text": select(text("a")).where(text("a = 1; DELETE FROM t")),
    "a prefix": select(User).prefix_with("1 INTO OUTFILE"),
    "a suffix": select(User).suffix_with("INTO OUTFILE 'x'"),
    "a statement hint": select(User).with_statement_hint("INTO @x"),
    "SQL of one's own": select(Whatever()),
    "SQL of one's own, in a where": select(User).where(Whatever() == 1),
    "a function with SQL of one's own": select(LikeAFunction()),
    "an expression in loader criteria": select(User).options(
        with_loader_criteria(User, Whatever() == 1)
    ),
    "an expression in the rows of values": select(
        values(column("id", Integer), name="v").data([(Whatever(),)])
    ),
}

LOCKS: dict[str, Any] = {
    "for update": select(User).with_for_update(),
    "for share": select(User).with_for_update(read=True),
    "nowait": select(User).with_for_update(nowait=True),
    "skip locked": select(User).with_for_update(skip_locked=True),
    "no key update": select(User).with_for_update(key_share=True),
    "key share": select(User).with_for_update(key_share=True, read=True),
    "of a table": select(User, Order).join(User.orders).with_for_update(of=Order),
    "in Core": select(item).with_for_update(),
    "in a subquery": select(select(User.id).with_for_update().subquery()),
    "in a scalar subquery": select(User).where(
        User.id == select(Order.user_id).with_for_update().scalar_subquery()
    ),
    "in an exists": select(User).where(select(Order.id).with_for_update().exists()),
    "in a CTE": select(select(User.id).with_for_update().cte("locked")),
    "in a CTE that is nowhere in the FROM": select(User).add_cte(
        select(Order.id).with_for_update().cte("locked")
    ),
    "in a union": union(select(User.id).with_for_update(), select(Order.id)),
    "a union": union(select(User.id), select(Order.id)).with_for_update(),
    "in a join": select(User).join(
        locked := select(Order).with_for_update().subquery(), locked.c.user_id == User.id
    ),
    "entities of a select": select(User).from_statement(select(User).with_for_update()),
    "a lambda": lambda_stmt(lambda: select(User).with_for_update()),
    "a lambda, later": lambda_stmt(lambda: select(User)) + (lambda s: s.with_for_update()),
    "an alias of a locking select": select(
        aliased(User, select(User).with_for_update().subquery())
    ),
    "text": text("SELECT * FROM t FOR UPDATE"),
    "text with columns": text("SELECT id FROM t LOCK IN SHARE MODE").columns(User.id),
    "a suffix": select(User).suffix_with("FOR UPDATE SKIP LOCKED"),
    "a suffix for one dialect": select(User).suffix_with("FOR SHARE", dialect="postgresql"),
    "a suffix of a CTE": select(select(User.id).cte("c").suffix_with("FOR UPDATE")),
    "a hint": select(User).with_hint(User, "WITH (UPDLOCK)", "mssql"),
    "a hint in a subquery": select(select(item.c.id).with_hint(item, "WITH (holdlock)").subquery()),
    "a statement hint": select(User).with_statement_hint("FOR UPDATE"),
    "a literal column": select(literal_column("1 FROM t FOR UPDATE --  ")),
}

CONNECTIONS: dict[str, Any] = {
    "last_insert_id": select(func.last_insert_id()),
    "in capitals": select(func.LAST_INSERT_ID()),
    "with a package": select(func.pg_catalog.nextval("s")),
    "a package of the session": select(func.dbms_lock.request(1)),
    "an advisory lock": select(func.pg_advisory_xact_lock_shared(1)),
    "trying for an advisory lock": select(func.pg_try_advisory_lock(1)),
    "the next value of a sequence": select(Sequence("s").next_value()),
    "next_value": select(func.next_value(Sequence("s"))),
    "in a where": select(User).where(User.id == func.get_lock("a", 1)),
    "in an order by": select(User).order_by(func.currval("s")),
    "in a subquery": select(select(func.lastval()).subquery()),
    "in a window": select(func.nextval("s").over()),
    "in a filter": select(func.count().filter(func.pg_backend_pid() == User.id)),
    "inside of a function": select(func.coalesce(func.found_rows(), 0)),
    "in the arguments of a table": select(func.unnest(func.total_changes()).table_valued("v")),
    "of a function without parentheses": select(func.current_user()),
    "in loader criteria": select(User).options(
        with_loader_criteria(User, User.id == func.lastval())
    ),
    "in loader criteria of a lambda": select(User).options(
        with_loader_criteria(User, lambda cls: cls.id == func.connection_id())
    ),
    "in a lambda": select(User).where(lambda: User.id == func.connection_id()),
    "in the rows of values": select(
        values(column("id", Integer), name="v").data([(1,), (func.nextval("s"),)])
    ),
    "text": text("SELECT last_insert_id()"),
    "a literal column": select(literal_column("nextval('s')")),
    "a prefix": select(User).prefix_with("SQL_CALC_FOUND_ROWS"),
    "a temporary schema": select(in_temp),
    "a temporary table": select(of_sql_server.c.id),
}


@pytest.mark.parametrize(
    ("reason", "statement"),
    [
        pytest.param(reason, statement, id=f"{reason.name}: {name}")
        for reason, table in (
            (Reason.NOT_A_SELECT, WRITES),
            (Reason.LOCKS_ROWS, LOCKS),
            (Reason.ABOUT_THE_CONNECTION, CONNECTIONS),
        )
        for name, statement in table.items()
    ],
)
def test_it_stays_at_home(reason, statement):
    assert examine(statement, {}) is reason
    assert examine(statement, {}) is reason  # and so when it was examined before


@pytest.mark.parametrize("name", sorted(CONNECTION_FUNCTIONS - {"next_value"}))
def test_a_function_about_the_connection_is_found_as_an_element_and_in_text(name):
    assert examine(select(getattr(func, name)()), {}) is Reason.ABOUT_THE_CONNECTION
    assert reason_in_sql(f"SELECT {name.upper()} (1)") is Reason.ABOUT_THE_CONNECTION


def test_an_execution_option_keeps_a_statement_at_home():
    statement = select(User).execution_options(run_in_caller=True)
    assert examine(statement, {}) is Reason.ASKED
    assert examine(select(User), {"run_in_caller": True}) is Reason.ASKED
    assert examine(lambda_stmt(lambda: statement), {}) is Reason.ASKED
    assert examine(select(User), {"run_in_caller": False}) is None


def statements_of(ask: Any) -> list[Any]:
    """What a `do_orm_execute` listener sees of what is asked."""
    seen: list[Any] = []
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:

        @event.listens_for(session, "do_orm_execute")
        def _see(state: ORMExecuteState) -> None:
            seen.append(state.statement)

        ask(session)
    engine.dispose()
    return seen


QUERIES: dict[str, tuple[Any, Reason | None]] = {
    "all": (lambda s: s.query(User).filter_by(active=True).all(), None),
    "count": (lambda s: s.query(User).count(), None),
    "first": (lambda s: s.query(User).join(User.orders).first(), None),
    "exists": (lambda s: s.query(s.query(User).exists()).scalar(), None),
    "get": (lambda s: s.get(User, 1), None),
    "text": (lambda s: s.query(User).from_statement(text("SELECT * FROM user")).all(), None),
    "for update": (lambda s: s.query(User).with_for_update().all(), Reason.LOCKS_ROWS),
    "get for update": (lambda s: s.get(User, 1, with_for_update=True), Reason.LOCKS_ROWS),
    "a count of locked rows": (
        lambda s: s.query(User).with_for_update().count(),
        Reason.LOCKS_ROWS,
    ),
    "a prefix": (
        lambda s: s.query(User).prefix_with("/* */ DISTINCT /* FOR UPDATE */").all(),
        None,
    ),
    "a suffix": (
        lambda s: s.query(User).suffix_with("FOR UPDATE", dialect="mysql").all(),
        Reason.LOCKS_ROWS,
    ),
    "a hint": (lambda s: s.query(User).with_hint(User, "XLOCK").all(), Reason.LOCKS_ROWS),
    "delete": (lambda s: s.query(User).delete(), Reason.NOT_A_SELECT),
    "update": (lambda s: s.query(User).update({"name": "x"}), Reason.NOT_A_SELECT),
    "an option": (
        lambda s: s.query(User).execution_options(run_in_caller=True).all(),
        Reason.ASKED,
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_seen_as_its_statement(name):
    ask, reason = QUERIES[name]
    assert [examine(statement, {}) for statement in statements_of(ask)] == [reason]


TEXTS: dict[str, Reason | None] = {
    "SELECT 1": None,
    "  \n(select 1) union (select 2);  \n": None,
    "-- a comment\nSELECT 1": None,
    "# a comment, isn't it\nSELECT 1": Reason.NOT_A_SELECT,
    "# a comment\n  SELECT 1": None,
    "/* a comment */ (SELECT 1) -- delete": None,
    "/*+ BKA(t1) */ SELECT 1": None,
    "SELECT /* for update */ 1": None,
    "WITH a AS (SELECT 1) SELECT * FROM a": None,
    "VALUES (1), (2)": None,
    "SELECT 'delete', 'it''s for update', \"insert into\", `update` FROM t": None,
    "SELECT '-- ' FROM t": None,
    "SELECT t.update, t.delete, updated_at, for_update, deleted FROM t": None,
    "SELECT a FROM t WHERE a = :update": None,
    "SELECT replace(a, 'b', 'c'), insert(a, 1, 2, b), truncate(a, 1)": None,
    "SELECT changes, nextval, row_count FROM t": None,
    "SELECT tsv @@ query, a @> b, a <@ b FROM t": None,
    "SELECT data #> %(path)s FROM t": None,
    "SELECT a[1] FROM t WHERE a = %(a)s AND b = ? AND c = $1": None,
    "SELECT a -1, a - -1": None,
    "": Reason.NOT_A_SELECT,
    "-- SELECT 1": Reason.NOT_A_SELECT,
    "UPDATE t SET a = 1": Reason.NOT_A_SELECT,
    "selection": Reason.NOT_A_SELECT,
    "EXPLAIN SELECT 1": Reason.NOT_A_SELECT,
    "EXPLAIN ANALYZE DELETE FROM t": Reason.NOT_A_SELECT,
    "SHOW TABLES": Reason.NOT_A_SELECT,
    "PRAGMA user_version": Reason.NOT_A_SELECT,
    "CALL p()": Reason.NOT_A_SELECT,
    "SET search_path TO x": Reason.NOT_A_SELECT,
    "BEGIN": Reason.NOT_A_SELECT,
    "SELECT 1; DELETE FROM t": Reason.NOT_A_SELECT,
    "SELECT 1; SELECT 2": Reason.NOT_A_SELECT,
    "SELECT 1 -- '\n; SELECT 2 -- '": Reason.NOT_A_SELECT,
    "SELECT 1 DELETE FROM t": Reason.NOT_A_SELECT,
    "SELECT a INTO b FROM t": Reason.NOT_A_SELECT,
    "SELECT a FROM t INTO OUTFILE 'x'": Reason.NOT_A_SELECT,
    "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a": Reason.NOT_A_SELECT,
    "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a": Reason.NOT_A_SELECT,
    "WITH a AS (SELECT 1) REPLACE INTO t SELECT * FROM a": Reason.NOT_A_SELECT,
    "WITH a AS (SELECT 1) MERGE INTO t USING a": Reason.NOT_A_SELECT,
    "SELECT * FROM FINAL TABLE (INSERT INTO t VALUES (1))": Reason.NOT_A_SELECT,
    "/*! DELETE FROM t */ SELECT 1": Reason.NOT_A_SELECT,
    "SELECT 1 /*!50000 FOR UPDATE */": Reason.NOT_A_SELECT,
    "SELECT 1 /*M!100000 FOR UPDATE */": Reason.NOT_A_SELECT,
    "SELECT 1 /* /* */ FOR UPDATE */": Reason.NOT_A_SELECT,
    "SELECT 5--3 FOR UPDATE": Reason.NOT_A_SELECT,
    "SELECT 'a\\' FOR UPDATE -- '": Reason.NOT_A_SELECT,
    "SELECT $$ delete $$": Reason.NOT_A_SELECT,
    "SELECT $a$'$a$ FOR UPDATE --  '": Reason.NOT_A_SELECT,
    "SELECT q'[it's]' FROM t FOR UPDATE -- '": Reason.NOT_A_SELECT,
    "SELECT [it's] FROM t FOR UPDATE -- '": Reason.NOT_A_SELECT,
    "SELECT [a--b] FROM t WITH (UPDLOCK)": Reason.NOT_A_SELECT,
    "SELECT 'unpaired": Reason.NOT_A_SELECT,
    "SELECT 1 /* unpaired": Reason.NOT_A_SELECT,
    "SELECT 1 -- a\rFOR UPDATE": Reason.NOT_A_SELECT,
    "SELECT 1 # '\n FOR UPDATE # '": Reason.NOT_A_SELECT,
    "SELECT 1 FROM t FOR UPDATE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t for\n\tupdate of t nowait": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t FOR/**/UPDATE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t FOR -- a\n SHARE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t FOR # a\n SHARE": Reason.LOCKS_ROWS,
    "SELECT a #> b FROM t FOR SHARE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t FOR NO KEY UPDATE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t FOR KEY SHARE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t LOCK IN SHARE MODE": Reason.LOCKS_ROWS,
    "SELECT 1 FROM t WITH (UPDLOCK, ROWLOCK)": Reason.LOCKS_ROWS,
    "SELECT 1 WITH RS USE AND KEEP UPDATE LOCKS": Reason.LOCKS_ROWS,
    "SELECT nextval('s')": Reason.ABOUT_THE_CONNECTION,
    'SELECT "nextval"(1)': Reason.ABOUT_THE_CONNECTION,
    "SELECT `get_lock` (1)": Reason.ABOUT_THE_CONNECTION,
    "SELECT nextval/* */('s')": Reason.ABOUT_THE_CONNECTION,
    "SELECT pg_catalog.pg_advisory_lock(1)": Reason.ABOUT_THE_CONNECTION,
    "SELECT dblink('a', 'b')": Reason.ABOUT_THE_CONNECTION,
    "SELECT @x": Reason.ABOUT_THE_CONNECTION,
    "SELECT @`x`": Reason.ABOUT_THE_CONNECTION,
    "SELECT @'x'": Reason.ABOUT_THE_CONNECTION,
    "SELECT @@identity": Reason.ABOUT_THE_CONNECTION,
    "SELECT @x := @x + 1": Reason.ABOUT_THE_CONNECTION,
    "SELECT SQL_CALC_FOUND_ROWS * FROM t": Reason.ABOUT_THE_CONNECTION,
    "SELECT NEXT VALUE FOR s": Reason.ABOUT_THE_CONNECTION,
    "SELECT s.NEXTVAL FROM dual": Reason.ABOUT_THE_CONNECTION,
    "SELECT current_user": Reason.ABOUT_THE_CONNECTION,
    "SELECT DBMS_LOCK.REQUEST(1) FROM dual": Reason.ABOUT_THE_CONNECTION,
    "SELECT * FROM pg_temp.t": Reason.ABOUT_THE_CONNECTION,
    'SELECT * FROM "pg_temp_3"."t"': Reason.ABOUT_THE_CONNECTION,
    "SELECT * FROM temp.t": Reason.ABOUT_THE_CONNECTION,
    "SELECT * FROM a JOIN #t ON 1 = 1": Reason.ABOUT_THE_CONNECTION,
    "SELECT * FROM sqlite_temp_master": Reason.ABOUT_THE_CONNECTION,
}


@pytest.mark.parametrize("sql", TEXTS)
def test_text_is_judged_by_what_is_code_in_it(sql):
    assert reason_in_sql(sql) is TEXTS[sql]
    assert examine(text(sql), {}) is TEXTS[sql]


WORDS = st.sampled_from(
    [
        *("delete", "FOR UPDATE", "insert into t", "; drop table t", "LOCK IN SHARE MODE", "@x"),
        *("nextval(1)", "/*", "*/", "-- ", "#", "select", "it", "''", "\n", " ", "(", "SET"),
    ]
)
PHRASES = st.lists(WORDS, max_size=6).map(" ".join)
LITERALS = PHRASES.map(lambda words: f"'{words}'")
QUOTED_NAMES = st.tuples(st.sampled_from('"`'), PHRASES).map(
    lambda quoted: f"{quoted[0]}{quoted[1]}{quoted[0]}"
)
COMMENTS = PHRASES.map(lambda words: words.replace("/*", "").replace("*/", "")).flatmap(
    lambda words: st.sampled_from([f"/* {words} */", f"-- {words.replace(chr(10), ' ')}\n"])
)
CODE = st.sampled_from(["a", "a + 1", "count(*)", "t.b", "x AS y", "1", "lower(c)", ":p"])
SELECTS = st.lists(LITERALS | QUOTED_NAMES | COMMENTS | CODE, min_size=1, max_size=8)
LOCK_WORDS = st.sampled_from(
    ["FOR UPDATE", "for  share", "For No Key\nUpdate", "FOR KEY SHARE", "lock in share mode"]
)


@given(SELECTS)
def test_a_select_with_any_words_in_quotes_and_comments_may_leave(parts):
    assert reason_in_sql(" ".join(["SELECT", *parts, "FROM t"])) is None


@given(SELECTS, LOCK_WORDS, st.data())
def test_a_lock_outside_of_quotes_is_found_wherever_it_stands(parts, lock, data):
    at = data.draw(st.integers(0, len(parts)))
    sql = " ".join(["SELECT", *parts[:at], lock, *parts[at:]])
    assert reason_in_sql(sql) is Reason.LOCKS_ROWS
    assert reason_in_fragment(sql) is Reason.LOCKS_ROWS


@given(SELECTS, st.sampled_from(["DELETE FROM t", "; SELECT 1", "INTO b", "nextval(1)", "@x"]))
def test_what_stays_at_home_stays_after_any_quotes_and_comments(parts, code):
    assert reason_in_sql(" ".join(["SELECT", *parts, code])) is not None


@given(COMMENTS.filter(lambda comment: not comment.startswith("/* !")) | st.just(""), SELECTS)
def test_comments_before_the_first_word_are_skipped(comment, parts):
    assert reason_in_sql(" ".join([comment, "( SELECT", *parts, ")"])) is None
    assert reason_in_sql(" ".join([comment, "EXPLAIN SELECT", *parts])) is Reason.NOT_A_SELECT


@given(st.text(alphabet="aU'\"`/*-#\\$[]\n\r;@( \0", max_size=40))
def test_any_text_gets_an_answer(sql):
    assert reason_in_fragment(sql) in {None, *Reason}


# Values that are computed when they are asked for


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One connection for all threads: what another thread executes can be seen."""
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(User(id=1, name="a", active=True, updated_at=0))
    yield engine
    engine.dispose()


def threads_that_execute(engine: Engine) -> list[threading.Thread]:
    threads: list[threading.Thread] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _note(*_args: Any) -> None:
        threads.append(threading.current_thread())

    return threads


def compile_elsewhere(engine: Engine, statement: Any) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as other:
        return other.submit(lambda: dict(statement.compile(engine).params)).result()


OF_AN_EXPIRED_USER = {
    "a relationship": lambda user: select(Order).where(Order.user == user),
    "in a subquery": lambda user: select(
        select(Order.id).where(Order.user == user).cte("c").alias("d")
    ),
    "in a union": lambda user: union(
        select(Order.id).where(Order.user == user), select(Order.id).where(Order.user != user)
    ),
    "in loader criteria": lambda user: select(Order).options(
        with_loader_criteria(Order, Order.user == user)
    ),
}


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("name", OF_AN_EXPIRED_USER)
def test_bound_values_of_expired_objects_are_read_on_this_thread(engine, name, before):
    with Session(engine) as session:
        user = session.get_one(User, 1)
        for _ in range(before):  # another that is the same but for its values was examined
            examine(OF_AN_EXPIRED_USER[name](user), {})
        session.expire(user)
        statement = OF_AN_EXPIRED_USER[name](user)
        threads = threads_that_execute(engine)
        assert examine(statement, {}) is None
        assert threads == [threading.current_thread()]
        assert 1 in compile_elsewhere(engine, statement).values()
        assert threads == [threading.current_thread()]


def test_unread_an_expired_object_is_loaded_where_the_statement_is_compiled(engine):
    with Session(engine) as session:
        user = session.get_one(User, 1)
        session.expire(user)
        statement = select(Order).where(Order.user == user)
        threads = threads_that_execute(engine)
        assert 1 in compile_elsewhere(engine, statement).values()
        assert len(threads) == 1
        assert threads[0] is not threading.current_thread()


def test_bound_values_of_a_statement_that_stays_are_not_read(engine):
    with Session(engine) as session:
        user = session.get_one(User, 1)
        session.expire(user)
        threads = threads_that_execute(engine)
        statement = select(Order).where(Order.user == user).with_for_update()
        assert examine(statement, {}) is Reason.LOCKS_ROWS
        assert threads == []


def test_what_computing_a_bound_value_raises_is_raised():
    def fail() -> int:
        raise LookupError("no such tenant")

    with pytest.raises(LookupError, match="no such tenant"):
        examine(select(User).where(User.id == bindparam("id", callable_=fail)), {})


class Listed(UserDefinedType[Any]):
    """A type with something in it that cannot be hashed."""

    cache_ok = True

    def __init__(self, names: list[str]) -> None:
        self.names = names


def test_a_statement_that_cannot_be_found_again_is_examined_every_time():
    statement = select(cast(User.id, Listed(["a"])))
    for _ in range(2):
        assert examine(statement, {}) is None
        assert examine(statement.with_for_update(), {}) is Reason.LOCKS_ROWS


def test_statements_that_differ_in_what_keeps_them_at_home_are_told_apart():
    def plain() -> Any:  # a new one each time: in SQLAlchemy 2.0.30 a hint changes its statement
        return select(User.id).where(User.id == 1)

    for _ in range(2):
        assert examine(plain(), {}) is None
        assert examine(plain().with_for_update(), {}) is Reason.LOCKS_ROWS
        assert examine(plain().with_for_update(read=True), {}) is Reason.LOCKS_ROWS
        assert examine(plain().prefix_with("SQL_CALC_FOUND_ROWS"), {}) is not None
        assert examine(plain().suffix_with("FOR UPDATE"), {}) is not None
        assert examine(plain().with_hint(User, "FOR UPDATE"), {}) is not None
        assert examine(plain().with_statement_hint("FOR UPDATE"), {}) is not None
        assert examine(plain().where(literal_column("nextval('s')") > 1), {}) is not None
        assert examine(plain().where(text("nextval('s') > 1")), {}) is not None
        assert examine(plain().where(func.nextval("s") > 1), {}) is not None
        assert examine(plain().where(func.lower("s") > "a"), {}) is None
