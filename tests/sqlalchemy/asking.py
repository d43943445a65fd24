"""Things that are asked of a session, how they can be asked, and their results as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import (
    Engine,
    Executable,
    Integer,
    Result,
    Row,
    String,
    bindparam,
    case,
    cast,
    column,
    exists,
    func,
    inspect,
    lambda_stmt,
    literal,
    null,
    select,
    text,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.engine import ScalarResult
from sqlalchemy.orm import (
    Bundle,
    Query,
    Session,
    aliased,
    contains_eager,
    defer,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    query_expression,
    raiseload,
    registry,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    undefer,
    with_expression,
    with_loader_criteria,
    with_polymorphic,
)

from commonpool import current_executor, process, run_in_parallel
from tests.helpers import busy
from tests.sqlalchemy.models import (
    Employee,
    Item,
    Manager,
    Order,
    Tag,
    User,
    currencies,
    order_tags,
)

LIMIT = 60  # seconds: a timeout with which a caller sleeps, so that workers do it all


class Currency:
    """Has an attribute that only a query gives."""

    code: Any
    rate: Any
    twice: Any


registry().map_imperatively(Currency, currencies, properties={"twice": query_expression()})


# How a thing can be asked of a session


def in_the_session(thing: Any, session: Session) -> Any:
    """What the session itself returns."""
    if isinstance(thing, Query):
        return thing.all()
    return session.execute(thing) if isinstance(thing, Executable) else thing()


def as_call(thing: Any, session: Session) -> Any:
    """A thing that `submit` takes: it has no `session=`."""
    if isinstance(thing, Query) or not isinstance(thing, Executable):
        return thing
    return partial(session.execute, thing)


def alone(thing: Any, session: Session) -> Any:
    return run_in_parallel([thing], session=session)[0]


def by_a_worker(thing: Any, session: Session) -> Any:
    return run_in_parallel([thing], session=session, timeout=LIMIT)[0]


def submitted(thing: Any, session: Session) -> Any:
    return current_executor().submit(as_call(thing, session)).result()


def in_a_group(thing: Any, session: Session) -> Any:
    with current_executor().task_group() as group:
        future = group.submit(as_call(thing, session))
    return future.result()


def kept(thing: Any, session: Session) -> Any:
    """As on a machine so busy that callers keep what is short, as `nothing` is known to be."""
    nothing = select(literal(1))
    if isinstance(session.bind, Engine):
        session.connection()
    with busy(process.current_pool()):
        for things in ([nothing, nothing], [thing, nothing]):
            results = run_in_parallel(things, session=session)
    return results[0]


# Those in which it is decided for each thing whether it may leave its session's connection.
DECIDING_WAYS: tuple[Callable[[Any, Session], Any], ...] = (
    alone,
    by_a_worker,
    submitted,
    in_a_group,
)
WAYS = (*DECIDING_WAYS, kept)


# Results as plain values


LINES = (Result, ScalarResult, Row, list, tuple)
SCALARS = {type(None), bool, int, float, str, Decimal, datetime, date}


def plain(value: Any, seen: set[tuple[Any, ...]] | None = None) -> Any:
    """Values to compare: an object becomes all that is loaded of it, as deep as that goes."""
    if type(value) in SCALARS:
        return value
    seen = set() if seen is None else seen
    if isinstance(value, Mapping):
        return {str(key): plain(item, seen) for key, item in value.items()}
    if isinstance(value, LINES) or hasattr(value, "__next__"):
        return [plain(item, seen) for item in value]
    state = inspect(value, raiseerr=False)
    identity = getattr(state, "identity", None)
    if identity is None:
        return value
    key = (type(value).__name__, *identity)
    if key in seen:
        return key
    seen.add(key)
    loaded = {name: state.dict[name] for name in sorted(state.attrs.keys()) if name in state.dict}
    return (key, [(name, plain(item, seen)) for name, item in loaded.items()])


# What is asked. Each makes it from a session, for its queries; all have an order of their own.

Make = Callable[[Session], Any]


def recursive(_: Session) -> Any:
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < 20))
    return select(numbers.c.n, User.name).join(User, User.id == numbers.c.n).order_by(numbers.c.n)


def of_aliases(_: Session) -> Any:
    next_one = aliased(User, name="next_one")
    return select(User, next_one).join(next_one, next_one.id == User.id + 1).order_by(User.id)


def of_ctes(_: Session) -> Any:
    big = select(Order).where(Order.total > 100).cte("big")
    per_user = select(big.c.user_id, func.count().label("n")).group_by(big.c.user_id).cte("per")
    return (
        select(User, per_user.c.n).join(per_user, per_user.c.user_id == User.id).order_by(User.id)
    )


def entities_of_a_cte(_: Session) -> Any:
    even = aliased(Order, select(Order).where(Order.id % 2 == 0).cte("even"))
    return select(even).order_by(even.id).limit(20)


def of_all_kinds(_: Session) -> Any:
    anyone = with_polymorphic(Employee, "*")
    return select(anyone).order_by(anyone.id)


def one_kind_of_them(_: Session) -> Any:
    anyone = with_polymorphic(Employee, [Manager])
    return select(anyone).where(anyone.Manager.department != "Department 1").order_by(anyone.id)


def entities_of_a_union(_: Session) -> Any:
    few = select(User).where(User.id < 4)
    more = select(User).where(User.id > 47)
    return select(User).from_statement(few.union(more).order_by("id"))


def with_a_lambda(_: Session) -> Any:
    least = 40
    statement = lambda_stmt(lambda: select(User))
    statement += lambda s: s.where(User.id > least).order_by(User.id)
    return statement


def of_an_object(session: Session) -> Any:
    user = session.get(User, 8)
    session.info["kept"] = user  # the statement alone does not keep it
    session.expire(user)
    return select(Order).where(Order.user == user).order_by(Order.id)


def with_a_value_given_late(_: Session) -> Any:
    return select(User).where(User.id < bindparam("least", callable_=lambda: 5)).order_by(User.id)


STATEMENTS: dict[str, Make] = {
    "entities": lambda _: select(User).order_by(User.id),
    "entities in a range": lambda _: select(User).order_by(User.id.desc()).limit(7).offset(3),
    "no rows": lambda _: select(User).where(User.id < 0),
    "columns": lambda _: select(User.id, User.name, User.created).order_by(User.id),
    "one column": lambda _: select(User.name).order_by(User.id),
    "an entity and a column": lambda _: select(User, User.name).order_by(User.id),
    "several entities in a row": lambda _: (
        select(Order, User, Item).join(Order.user).join(Order.items).order_by(Item.id)
    ),
    "an outer join": lambda _: (
        select(User, Order).outerjoin(User.orders).where(User.id > 45).order_by(User.id, Order.id)
    ),
    "aliases": of_aliases,
    "bundles": lambda _: select(Bundle("whole", User.id, User.name)).order_by(User.id),
    "aggregates": lambda _: (
        select(User.active, func.count(), func.sum(Order.total), func.max(User.created))
        .join(User.orders)
        .group_by(User.active)
        .having(func.count() > 1)
        .order_by(User.active)
    ),
    "a many-to-many join": lambda _: (
        select(Tag.name, func.count(Order.id))
        .join(Tag.orders)
        .group_by(Tag.name)
        .order_by(Tag.name)
    ),
    "selectinload": lambda _: (
        select(User).options(selectinload(User.orders).selectinload(Order.items)).order_by(User.id)
    ),
    "selectinload of two collections": lambda _: (
        select(Order)
        .options(selectinload(Order.items), selectinload(Order.tags))
        .order_by(Order.id)
    ),
    "selectinload with criteria": lambda _: (
        select(User).options(selectinload(User.orders.and_(Order.open == true()))).order_by(User.id)
    ),
    "subqueryload": lambda _: (
        select(User)
        .options(subqueryload(User.orders).subqueryload(Order.tags))
        .where(User.id < 20)
        .order_by(User.id)
    ),
    "immediateload": lambda _: (
        select(Order).options(immediateload(Order.user)).order_by(Order.id).limit(12)
    ),
    "immediateload of collections": lambda _: (
        select(User).options(immediateload(User.orders)).order_by(User.id).limit(9)
    ),
    "joinedload of one": lambda _: select(Order).options(joinedload(Order.user)).order_by(Order.id),
    "contains_eager of one": lambda _: (
        select(Item)
        .join(Item.order)
        .options(contains_eager(Item.order))
        .order_by(Order.total.desc(), Item.id)
    ),
    "lazyload": lambda _: select(User).options(lazyload(User.orders)).order_by(User.id),
    "raiseload": lambda _: select(User).options(raiseload("*")).order_by(User.id),
    "deferred": lambda _: select(User).options(defer(User.data)).order_by(User.id),
    "undeferred": lambda _: select(User).options(undefer(User.biography)).order_by(User.id),
    "load_only": lambda _: select(User).options(load_only(User.name)).order_by(User.id),
    "with_expression": lambda _: (
        select(Currency)
        .options(with_expression(Currency.twice, currencies.c.rate * 2))
        .order_by(currencies.c.code)
    ),
    "with_loader_criteria": lambda _: (
        select(User)
        .options(selectinload(User.orders), with_loader_criteria(Order, Order.id < 100))
        .order_by(User.id)
    ),
    "a hierarchy": lambda _: select(Employee).order_by(Employee.id),
    "a class of a hierarchy": lambda _: select(Manager).order_by(Manager.id),
    "with_polymorphic": of_all_kinds,
    "with_polymorphic and criteria": one_kind_of_them,
    "selectin_polymorphic": lambda _: (
        select(Employee).options(selectin_polymorphic(Employee, [Manager])).order_by(Employee.id)
    ),
    "from_statement of text": lambda _: select(User).from_statement(
        text("SELECT id, name, active FROM users WHERE id > :least ORDER BY id DESC").bindparams(
            least=30
        )
    ),
    "from_statement of a select": lambda _: select(Order).from_statement(
        select(Order.__table__).where(Order.total > 200).order_by(Order.id)
    ),
    "text": lambda _: text("SELECT id, name FROM users ORDER BY id"),
    "text with bindparams": lambda _: text(
        "SELECT id, name FROM users WHERE id IN :ids ORDER BY id"
    ).bindparams(bindparam("ids", value=[3, 5, 8], expanding=True)),
    "text with columns": lambda _: text(
        "SELECT id, labels, created FROM users ORDER BY id"
    ).columns(User.id, User.labels, User.created),
    "a subquery of text": lambda _: select(column("n", Integer)).select_from(
        text("SELECT count(*) AS n FROM items").columns(column("n", Integer)).subquery("t")
    ),
    "a table": lambda _: select(currencies).order_by(currencies.c.code),
    "tables": lambda _: (
        select(order_tags.c.tag_id, func.count()).group_by(order_tags.c.tag_id).order_by("tag_id")
    ),
    "CTEs": of_ctes,
    "entities of a CTE": entities_of_a_cte,
    "a recursive CTE": recursive,
    "a union": lambda _: (
        select(User.id, User.name)
        .union_all(select(Tag.id, Tag.name))
        .order_by("id", "name")
        .limit(30)
    ),
    "entities of a union": entities_of_a_union,
    "exists": lambda _: (
        select(User)
        .where(exists().where(Order.user_id == User.id, Order.total > 200))
        .order_by(User.id)
    ),
    "not exists": lambda _: select(User).where(~User.orders.any()).order_by(User.id),
    "a scalar subquery": lambda _: select(
        User.id,
        select(func.count(Order.id)).where(Order.user_id == User.id).scalar_subquery().label("n"),
    ).order_by(User.id),
    "a window function": lambda _: select(
        Order.id,
        func.row_number().over(partition_by=Order.user_id, order_by=Order.total.desc()),
        func.sum(Order.total).over(partition_by=Order.user_id, order_by=Order.id),
    ).order_by(Order.id),
    "expressions": lambda _: select(
        User.id,
        case((User.active == true(), "active"), else_="not").label("state"),
        cast(User.id, String(10)).label("digits"),
        null().label("missing"),
        literal("100%").label("percent"),
        func.length(User.data).label("size"),
    ).order_by(User.id),
    "many values": lambda _: select(User).where(User.id.in_(range(0, 200, 7))).order_by(User.id),
    "no values": lambda _: select(User).where(User.id.in_([])),
    "tuples of values": lambda _: (
        select(Order.id)
        .where(tuple_(Order.user_id, Order.open).in_([(8, False), (15, True)]))
        .order_by(Order.id)
    ),
    "a type of one's own": lambda _: (
        select(User.labels, User.id).where(User.labels == ("a", "b")).order_by(User.id)
    ),
    "blobs": lambda _: select(User.data).order_by(User.id),
    "distinct": lambda _: select(Order.user_id).distinct().order_by(Order.user_id),
    "an object as a value": of_an_object,
    "a value that is given late": with_a_value_given_late,
    "a lambda": with_a_lambda,
    "a union of everything": lambda _: union_all(
        select(User.name), select(Tag.name), select(Item.name)
    ).order_by("name"),
    "populate_existing": lambda _: (
        select(User).order_by(User.id).execution_options(populate_existing=True)
    ),
    "yield_per": lambda _: select(User).order_by(User.id).execution_options(yield_per=7),
    "yield_per of columns": lambda _: (
        select(Order.id, Order.total).order_by(Order.id).execution_options(yield_per=9)
    ),
    "stream_results": lambda _: (
        select(Order).order_by(Order.id).execution_options(stream_results=True, max_row_buffer=10)
    ),
    "stream_results of columns": lambda _: (
        select(Item.id).order_by(Item.id).execution_options(stream_results=True)
    ),
}

QUERIES: dict[str, Make] = {
    "a query": lambda s: s.query(User).order_by(User.id),
    "Query.all": lambda s: s.query(User).filter_by(active=True).order_by(User.id).all,
    "Query.count": lambda s: s.query(Item).count,
    "Query.first": lambda s: s.query(User).order_by(User.id.desc()).first,
    "Query.first of nothing": lambda s: s.query(User).filter(User.id < 0).first,
    "Query.one": lambda s: s.query(User).filter_by(id=9).one,
    "Query.one_or_none": lambda s: s.query(User).filter_by(id=11).one_or_none,
    "Query.one_or_none of nothing": lambda s: s.query(User).filter_by(id=-1).one_or_none,
    "Query.scalar": lambda s: s.query(func.max(Order.total)).scalar,
    "a query of columns": lambda s: s.query(User.id, User.labels).order_by(User.id),
    "a query with limit and offset": lambda s: s.query(User).order_by(User.id).limit(5).offset(9),
    "a slice of a query": lambda s: s.query(User).order_by(User.id).slice(5, 9),
    "a distinct query": lambda s: s.query(Order.user_id).distinct().order_by(Order.user_id),
    "a grouping query": lambda s: (
        s.query(Order.open, func.count(Order.id)).group_by(Order.open).order_by(Order.open)
    ),
    "Query.with_entities": lambda s: (
        s.query(User).filter(User.id < 9).order_by(User.id).with_entities(User.name, User.id)
    ),
    "a joining query": lambda s: s.query(User, Order).join(User.orders).order_by(Order.id),
    "a query with joinedload": lambda s: (
        s.query(User).options(joinedload(User.orders)).order_by(User.id)
    ),
    "a query with selectinload": lambda s: (
        s.query(Order).options(selectinload(Order.items)).order_by(Order.id)
    ),
    "a query of a subquery": lambda s: s.query(
        s.query(User.id).filter(User.id < 5).subquery()
    ).order_by("id"),
    "a query from a statement": lambda s: s.query(User).from_statement(
        text("SELECT * FROM users WHERE id < 4 ORDER BY id")
    ),
    "a query with params": lambda s: (
        s.query(User).filter(text("id < :most")).params(most=6).order_by(User.id)
    ),
    "a query with yield_per": lambda s: s.query(Order).order_by(Order.id).yield_per(10),
    "whether there are any": lambda s: s.query(s.query(User).filter_by(id=4).exists()).scalar,
}

METHODS: dict[str, Make] = {
    "Session.execute": lambda s: partial(s.execute, select(Tag).order_by(Tag.id)),
    "Session.execute with parameters": lambda s: partial(
        s.execute, select(User).where(User.id > bindparam("least")).order_by(User.id), {"least": 44}
    ),
    "Session.execute with options": lambda s: partial(
        s.execute, select(User).order_by(User.id), execution_options={"yield_per": 6}
    ),
    "Session.execute of text": lambda s: partial(
        s.execute, text("SELECT name FROM tags WHERE id = :id"), {"id": 3}
    ),
    "Session.scalars": lambda s: partial(s.scalars, select(User).order_by(User.id)),
    "Session.scalars with parameters": lambda s: partial(
        s.scalars, select(Tag.name).where(Tag.id == bindparam("tag")), params={"tag": 2}
    ),
    "Session.scalar": lambda s: partial(s.scalar, select(func.count()).select_from(Item)),
    "Session.scalar of nothing": lambda s: partial(s.scalar, select(User).where(User.id < 0)),
    "Session.get": lambda s: partial(s.get, User, 3),
    "Session.get of nothing": lambda s: partial(s.get, User, 999),
    "Session.get with options": lambda s: partial(
        s.get, User, 4, options=[selectinload(User.orders)]
    ),
    "Session.get_one": lambda s: partial(s.get_one, User, 5),
    "a partial of a partial": lambda s: partial(partial(s.get, User), 6),
}

THINGS = {**STATEMENTS, **QUERIES, **METHODS}
