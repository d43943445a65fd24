"""What comes back is what the session itself would have returned, on each database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, Table, event, func, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, NoResultFound
from sqlalchemy.orm import (
    ORMExecuteState,
    Session,
    contains_eager,
    joinedload,
    selectinload,
    with_loader_criteria,
)

from commonpool import DeadlineExceeded, current_executor, run_in_parallel
from commonpool.ext.sqlalchemy import session_providers, stats
from commonpool.ext.sqlalchemy.stats import Reason
from commonpool.greenlets import patched
from tests.helpers import Gate, wait_until
from tests.sqlalchemy.asking import (
    LIMIT,
    METHODS,
    QUERIES,
    STATEMENTS,
    THINGS,
    WAYS,
    Currency,
    Make,
    as_call,
    by_a_worker,
    in_the_session,
    plain,
    submitted,
)
from tests.sqlalchemy.databases import Database
from tests.sqlalchemy.models import Employee, Item, Order, Tag, User

Way = Callable[[Any, Session], Any]

of_ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def expected(engine: Engine, make: Make, read: Callable[[Any], Any] = plain) -> Any:
    """What a session of its own returns, one after another."""
    with Session(engine) as session:
        return read(in_the_session(make(session), session))


@pytest.mark.parametrize("name", THINGS)
def test_a_thing_gives_what_the_session_would_have_returned(engine: Engine, name: str) -> None:
    make = THINGS[name]
    wanted = expected(engine, make)
    for way in WAYS:
        before = stats()
        with Session(engine) as session:
            found = way(make(session), session)
            assert plain(found) == wanted, way.__name__
        after = stats()
        assert after.at_home == before.at_home, way.__name__
        if way is by_a_worker:
            assert after.on_workers > before.on_workers
            assert after.by_callers == before.by_callers


@pytest.mark.parametrize(("step", "timeout"), [(1, None), (-1, LIMIT)])
def test_all_things_at_once_give_what_each_would_have_given_in_turn(
    engine: Engine, step: int, timeout: float | None
) -> None:
    makes = list(THINGS.values())[::step]
    with Session(engine) as session:
        kept = [all_of(in_the_session(make(session), session)) for make in makes]
        wanted = [plain(value) for value in kept]
    with Session(engine) as session:
        found = run_in_parallel([make(session) for make in makes], session=session, timeout=timeout)
        for name, value, want in zip(list(THINGS)[::step], found, wanted, strict=True):
            assert identities(all_of(value)) == identities_of_plain(want), name


def all_of(value: Any) -> Any:
    """The rows of a result, or the value that is none."""
    return value.all() if hasattr(value, "all") else value


def identities(value: Any) -> Any:
    """A result without what is loaded of its objects: that depends on what came before."""
    return identities_of_plain(plain(value))


def identities_of_plain(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple):
        return value[0]
    return [identities_of_plain(item) for item in value] if isinstance(value, list) else value


def test_each_of_a_mixed_batch_has_all_that_it_asked_for(engine: Engine) -> None:
    names = ["selectinload", "undeferred", "with_expression", "with_polymorphic", "a query"]
    with Session(engine) as session:
        wanted = plain([all_of(in_the_session(THINGS[name](session), session)) for name in names])
    with Session(engine) as session:
        found = run_in_parallel([THINGS[name](session) for name in names], session=session)
        assert plain([all_of(value) for value in found]) == wanted


def test_a_dict_gives_a_dict(engine: Engine) -> None:
    wanted = {name: expected(engine, make) for name, make in METHODS.items()}
    with Session(engine) as session:
        found = run_in_parallel(
            {name: make(session) for name, make in METHODS.items()}, session=session
        )
        assert list(found) == list(wanted)
        assert {name: identities(value) for name, value in found.items()} == {
            name: identities_of_plain(value) for name, value in wanted.items()
        }


# How a result is read

READS: dict[str, Callable[[Any], Any]] = {
    "all": lambda r: r.all(),
    "iteration": list,
    "scalars": lambda r: r.scalars().all(),
    "scalars of a column": lambda r: r.scalars(0).all(),
    "mappings": lambda r: r.mappings().all(),
    "mappings one by one": lambda r: [dict(row) for row in r.mappings()],
    "unique": lambda r: r.unique().all(),
    "unique scalars": lambda r: r.scalars().unique().all(),
    "unique by something": lambda r: r.unique(lambda row: str(row)[:3]).all(),
    "partitions": lambda r: list(r.partitions(6)),
    "partitions of their own size": lambda r: [len(part) for part in r.partitions()],
    "fetchmany": lambda r: [r.fetchmany(4), r.fetchmany(4), r.fetchall(), r.fetchall()],
    "fetchone": lambda r: [r.fetchone(), r.fetchone(), r.all()],
    "yield_per": lambda r: list(r.yield_per(3)),
    "yield_per and partitions": lambda r: list(r.yield_per(5).scalars().partitions()),
    "keys": lambda r: list(r.keys()),
    "columns": lambda r: r.columns(0).all(),
    "tuples": lambda r: r.tuples().all(),
    "first": lambda r: r.first(),
    "first scalar": lambda r: r.scalars().first(),
    "scalar": lambda r: r.scalar(),
    "one": lambda r: r.one(),
    "one_or_none": lambda r: r.one_or_none(),
    "scalar_one": lambda r: r.scalar_one(),
    "scalar_one_or_none": lambda r: r.scalar_one_or_none(),
    "two at a time": lambda r: [r.first(), r.all()],
    "closed": lambda r: [r.fetchone(), r.close(), r.fetchone()],
    "freeze": lambda r: [list(copy) for copy in (r.freeze()().all(),)],
    "rowcount": lambda r: hasattr(r, "rowcount") and r.returns_rows,
}

READ: dict[str, Make] = {
    "entities": STATEMENTS["entities"],
    "columns": STATEMENTS["columns"],
    "rows": lambda _: select(User, Order).join(User.orders).order_by(Order.id),
    "one entity": lambda _: select(User).where(User.id == 3),
    "one value": lambda _: select(func.count()).select_from(User),
    "nothing": lambda _: select(User).where(User.id < 0),
    "a stream": STATEMENTS["yield_per"],
    "a stream of columns": STATEMENTS["yield_per of columns"],
    "text": STATEMENTS["text"],
    "collections": lambda _: select(User).options(joinedload(User.orders)).order_by(User.id),
    "with selectinload": STATEMENTS["selectinload"],
}


def outcome(read: Callable[[Any], Any], result: Any) -> Any:
    """What reading gives, as a plain value; or its error."""
    try:
        return plain(read(result))
    except Exception as error:
        return type(error), str(error)
    finally:
        if hasattr(result, "close"):
            result.close()  # a stream that is not read to its end keeps its connection busy


@pytest.mark.parametrize("name", READ)
def test_a_result_can_be_read_in_each_way(engine: Engine, name: str) -> None:
    make = READ[name]
    for how, read in READS.items():
        if name == "text" and how == "partitions of their own size":
            continue  # as many as the driver likes
        wanted = expected(engine, make, partial(outcome, read))
        with Session(engine) as session:
            result = by_a_worker(make(session), session)
            assert outcome(read, result) == wanted, how


def test_results_can_be_read_in_turns_and_late(engine: Engine) -> None:
    with Session(engine) as session:
        first, second = run_in_parallel(
            [select(User.id).order_by(User.id), select(Order.id).order_by(Order.id)],
            session=session,
        )
        session.execute(select(Item)).all()
        pairs = [(first.fetchone()[0], second.fetchone()[0]) for _ in range(50)]
        assert pairs == [(n, n) for n in range(1, 51)]
        assert first.fetchone() is None
        session.commit()
        assert [row.id for row in second] == list(range(51, 201))


def test_collections_of_joinedload_ask_for_unique_as_always(engine: Engine) -> None:
    statement = select(User).options(joinedload(User.orders)).order_by(User.id)
    with Session(engine) as session:
        (result,) = run_in_parallel([statement], session=session)
        with pytest.raises(InvalidRequestError, match=r"unique\(\)"):
            result.scalars().all()
    wanted = expected(engine, lambda _: statement, lambda r: plain(r.unique().all()))
    with Session(engine) as session:
        (result,) = run_in_parallel([statement], session=session)
        assert plain(result.unique().all()) == wanted


def test_what_raiseload_keeps_from_loading_raises(session: Session) -> None:
    users = run_in_parallel([STATEMENTS["raiseload"](session)], session=session)[0].scalars().all()
    with pytest.raises(InvalidRequestError, match="lazy='raise'"):
        _ = users[0].orders


PARTS: dict[str, Any] = {
    "selectinload": select(User).options(selectinload(User.orders.and_(Order.id <= 10))),
    "contains_eager": (
        select(User).join(User.orders).where(Order.id <= 10).options(contains_eager(User.orders))
    ),
    "joinedload": select(User).options(joinedload(User.orders.and_(Order.id <= 10))),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("first", ["the whole", "the part"])
@pytest.mark.parametrize("timeout", [None, LIMIT])
def test_a_collection_is_what_the_first_statement_has_loaded(
    engine: Engine, part: str, first: str, timeout: float | None
) -> None:
    statements = [select(User).options(selectinload(User.orders)), PARTS[part]]
    if first == "the part":
        statements.reverse()

    def orders(results: list[Any]) -> list[Any]:
        return [
            [(user.id, [order.id for order in user.orders]) for user in users] for users in results
        ]

    with Session(engine) as session:
        wanted = orders([session.scalars(s).unique().all() for s in statements])
    with Session(engine) as session:
        found = run_in_parallel(statements, session=session, timeout=timeout)
        assert orders([result.scalars().unique().all() for result in found]) == wanted


# Sessions of all kinds


def some(session: Session) -> list[Any]:
    return [
        select(User).order_by(User.id),
        select(Order).options(selectinload(Order.items)).order_by(Order.id),
        session.query(Item).count,
        text("SELECT name FROM tags ORDER BY id"),
    ]


def rows_of(results: list[Any]) -> list[Any]:
    return [plain(value) for value in results]


@pytest.fixture
def wanted(engine: Engine) -> list[Any]:
    with Session(engine) as session:
        return rows_of([in_the_session(thing, session) for thing in some(session)])


@of_ways
def test_in_a_two_phase_session(make_engine: Callable[..., Engine], way: Way) -> None:
    engine = make_engine()
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no two-phase commit")
    wanted = expected(engine, STATEMENTS["selectinload"])
    with Session(engine, twophase=True) as session:
        assert plain(way(STATEMENTS["selectinload"](session), session)) == wanted
        session.get(User, 1).name = "in two phases"
        session.commit()
        assert session.scalar(select(User.name).where(User.id == 1)) == "in two phases"
        session.rollback()
        assert len(way(select(User), session).all()) == 50
        session.rollback()
        way(select(User), session)
        session.prepare()
        session.commit()


def test_in_a_session_with_several_binds(
    make_engine: Callable[..., Engine], wanted: list[Any]
) -> None:
    one, other = make_engine(), make_engine()
    other_used: list[str] = []

    @event.listens_for(other, "before_cursor_execute")
    def _(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        other_used.append(statement)

    binds = {User: one, Tag: one, Order: other, Item: other}
    with Session(one, binds=binds) as session:
        things = some(session)
        assert rows_of(run_in_parallel(things, session=session)) == wanted
        assert any("orders" in statement for statement in other_used)
        assert not any("users" in statement for statement in other_used)
    del other_used[:]
    with Session(one, binds=binds) as session:
        for way in WAYS:
            assert plain(way(STATEMENTS["selectinload"](session), session))
        assert not any("FROM users" in statement for statement in other_used)
    wait_until(lambda: one.pool.checkedout() == other.pool.checkedout() == 0)


def test_inside_a_savepoint(session: Session, wanted: list[Any]) -> None:
    with session.begin_nested():
        assert rows_of(run_in_parallel(some(session), session=session)) == wanted
    assert session.in_transaction()
    with session.begin_nested() as savepoint:
        assert len(run_in_parallel([select(User)], session=session)[0].all()) == 50
        savepoint.rollback()
    assert rows_of([in_the_session(thing, session) for thing in some(session)])[0] is not None


def test_inside_and_after_a_with_block_of_a_transaction(
    session: Session, wanted: list[Any]
) -> None:
    with session.begin():
        assert rows_of(run_in_parallel(some(session), session=session)) == wanted
    assert not session.in_transaction()
    assert rows_of(run_in_parallel(some(session), session=session)) == wanted
    assert session.in_transaction()


def test_a_listener_is_called_once_for_each_statement(engine: Engine) -> None:
    calls: list[ORMExecuteState] = []

    def only_open(state: ORMExecuteState) -> None:
        calls.append(state)
        if state.is_select and not state.is_column_load and not state.is_relationship_load:
            state.statement = state.statement.options(
                with_loader_criteria(Order, Order.open.is_(True))
            )

    def ask(do: Callable[[list[Any], Session], Any]) -> tuple[Any, int]:
        del calls[:]
        with Session(engine) as session:
            event.listen(session, "do_orm_execute", only_open)
            return rows_of(do(some(session), session)), len(calls)

    wanted = ask(lambda things, session: [in_the_session(thing, session) for thing in things])
    assert len(wanted[0][1]) == 100
    assert ask(lambda things, s: run_in_parallel(things, session=s)) == wanted
    assert ask(lambda things, s: run_in_parallel(things, session=s, timeout=LIMIT)) == wanted
    assert ask(lambda things, s: [submitted(thing, s) for thing in things]) == wanted


def test_a_method_of_a_base_class_is_called_as_it_was_passed(engine: Engine) -> None:
    class Parallel(Session):
        def scalar(self, *args: Any, **keywords: Any) -> Any:
            mine = partial(super().scalar, *args, **keywords)
            return run_in_parallel([mine, mine], session=self)[1]

    with Parallel(engine) as session:
        assert session.scalar(select(func.count(Tag.id))) == 8


def test_a_listener_that_was_there_later_is_called_once_too(session: Session) -> None:
    run_in_parallel([select(User), select(Order)], session=session)
    calls: list[ORMExecuteState] = []
    event.listen(session, "do_orm_execute", calls.append)
    run_in_parallel([select(User), select(Order)], session=session)
    assert len(calls) == 2


def test_a_listener_may_answer_in_the_place_of_the_database(session: Session) -> None:
    frozen = session.execute(select(Tag).order_by(Tag.id)).freeze()

    @event.listens_for(session, "do_orm_execute")
    def _(state: ORMExecuteState) -> Any:
        return frozen() if state.execution_options.get("from_cache") else None

    cached = select(Tag).execution_options(from_cache=True)
    before = stats()
    found = run_in_parallel([cached, cached], session=session)
    assert [[tag.id for tag in result.scalars()] for result in found] == [list(range(1, 9))] * 2
    after = stats()
    if patched():  # who listens is asked there by the greenlet of the session, and this is counted
        assert after.at_home[Reason.GREENLET] == before.at_home.get(Reason.GREENLET, 0) + 2
        after = replace(after, at_home=before.at_home)
    assert after == before


def test_what_a_load_listener_asks_for_is_there(engine: Engine) -> None:
    def note(currency: Currency, context: Any) -> None:
        currency.users = context.session.scalar(select(func.count()).select_from(User))  # type: ignore[attr-defined]
        currency.tag = context.session.execute(select(Tag.name).order_by(Tag.id)).scalars().first()  # type: ignore[attr-defined]

    event.listen(Currency, "load", note)
    try:
        for way in WAYS:
            with Session(engine) as session:
                found = way(STATEMENTS["with_expression"](session), session).scalars().all()
                assert [(c.code, c.users, c.tag) for c in found] == [
                    (code, 50, "Tag 1") for code in ("CHF", "EUR", "GBP", "JPY", "USD")
                ]
        with Session(engine) as session:
            results = run_in_parallel(
                [select(User), STATEMENTS["with_expression"](session), select(Order)],
                session=session,
            )
            assert [len(result.all()) for result in results] == [50, 5, 200]
    finally:
        event.remove(Currency, "load", note)


def test_a_provider_says_whose_a_statement_is(session: Session) -> None:
    def provide() -> Session:
        return session

    session_providers.append(provide)
    try:
        found = current_executor().submit(select(User).order_by(User.id)).result().scalars().all()
        assert [user.id for user in found] == list(range(1, 51))
        assert found[0] in session
        assert [len(r.all()) for r in run_in_parallel([select(Order), select(Tag)])] == [200, 8]
    finally:
        session_providers.remove(provide)


# Errors


ERRORS: dict[str, tuple[Make, type[Exception]]] = {
    "wrong SQL": (lambda _: text("SELECT FROM WHERE"), DBAPIError),
    "no such table": (lambda _: text("SELECT * FROM nothing_of_the_kind"), DBAPIError),
    "no such column": (lambda _: select(text("nothing_of_the_kind")).select_from(User), DBAPIError),
    "no value for a parameter": (
        lambda _: text("SELECT * FROM users WHERE id = :id"),
        Exception,
    ),
    "Query.one of nothing": (lambda s: s.query(User).filter_by(id=-1).one, NoResultFound),
    "Query.one of many": (lambda s: s.query(User).one, InvalidRequestError),
}


@of_ways
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_what_the_session_would_have_raised(
    engine: Engine, name: str, way: Way
) -> None:
    make, kind = ERRORS[name]
    with Session(engine) as session, pytest.raises(kind) as wanted:
        in_the_session(make(session), session)
    with Session(engine) as session:
        with pytest.raises(kind) as caught:
            way(make(session), session)
        assert type(caught.value) is type(wanted.value)
        if isinstance(wanted.value, DBAPIError) and isinstance(caught.value, DBAPIError):
            # With a timeout the text has a limit for the database in it.
            assert type(caught.value.orig) is type(wanted.value.orig)
            assert str(caught.value.orig) == str(wanted.value.orig)
        else:
            assert str(caught.value) == str(wanted.value)
        session.rollback()
        assert len(way(select(User), session).all()) == 50
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_errors_take_the_place_of_results_where_they_are_asked_for(session: Session) -> None:
    found = run_in_parallel(
        [
            select(User),
            text("SELECT * FROM nothing_of_the_kind"),
            session.query(User).filter_by(id=-1).one,
            lambda: 1 // 0,
            session.query(Tag).count,
        ],
        session=session,
        return_exceptions=True,
        timeout=LIMIT,
    )
    assert len(found[0].all()) == 50
    assert [type(value) for value in found[2:]] == [NoResultFound, ZeroDivisionError, int]
    assert isinstance(found[1], DBAPIError)
    assert found[4] == 8


def test_a_failure_is_raised_with_the_number_of_its_task(session: Session) -> None:
    with pytest.raises(DBAPIError) as caught:
        run_in_parallel(
            [select(User), text("SELECT * FROM nothing_of_the_kind"), select(Tag)], session=session
        )
    assert any("task 2 of 3" in note for note in caught.value.__notes__)
    session.rollback()
    assert len(run_in_parallel([select(User)], session=session)[0].all()) == 50


@of_ways
def test_what_a_listener_raises_is_raised(engine: Engine, way: Way) -> None:
    class Refused(Exception):
        pass

    with Session(engine) as session:

        @event.listens_for(session, "do_orm_execute")
        def _(state: ORMExecuteState) -> None:
            if state.execution_options.get("refused"):
                raise Refused

        with pytest.raises(Refused):
            way(select(User).execution_options(refused=True), session)
        assert len(way(select(User), session).all()) == 50
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_statements_and_callables_run_side_by_side(engine: Engine, session: Session) -> None:
    def count() -> int | None:
        with Session(engine) as own:
            return own.scalar(select(func.count()).select_from(Order))

    found = run_in_parallel(
        [count, select(User), lambda: 7, session.query(Tag), count, partial(pow, 2, 5)],
        session=session,
    )
    assert found[0] == found[4] == 200
    assert len(found[1].all()) == 50
    assert found[2] == 7
    assert [type(tag) for tag in found[3]] == [Tag] * 8
    assert found[5] == 32


def test_a_callable_and_a_statement_that_wait_for_each_other_s_turn(session: Session) -> None:
    with Gate() as gate:

        def opens() -> str:
            gate.open()
            return "opened"

        found = run_in_parallel(
            [partial(gate, "passed"), select(User), opens, select(Tag)],
            session=session,
            timeout=LIMIT,
        )
    assert found[0] == "passed"
    assert found[2] == "opened"
    assert [len(found[n].all()) for n in (1, 3)] == [50, 8]


def test_a_timeout_that_is_long_enough_changes_nothing(session: Session, wanted: list[Any]) -> None:
    assert rows_of(run_in_parallel(some(session), session=session, timeout=LIMIT)) == wanted


@pytest.mark.databases("mariadb", "postgresql")
def test_a_timeout_ends_the_waiting_and_the_session_goes_on(
    database: Database, session: Session
) -> None:
    with pytest.raises(DeadlineExceeded):
        run_in_parallel([select(User), database.endless("too long")], session=session, timeout=0.2)
    session.rollback()
    assert len(run_in_parallel([select(User)], session=session)[0].all()) == 50


def test_the_employees_that_several_statements_find_are_whole(engine: Engine) -> None:
    names = [name for name in STATEMENTS if "polymorphic" in name or "hierarchy" in name]
    with Session(engine) as session:
        results = run_in_parallel([STATEMENTS[name](session) for name in names], session=session)
        for result in results:
            for employee in result.scalars():
                number = employee.id
                assert employee.name == f"Employee {number:02}"
                assert type(employee).__name__ == ("Employee" if number % 3 else "Manager")
                if number % 3 == 0:
                    assert employee.department == f"Department {number // 3}"
        assert session.scalar(select(func.count()).select_from(Employee)) == 12


def test_many_rounds_of_everything_are_right(engine: Engine) -> None:
    wanted = {name: identities_of_plain(expected(engine, make)) for name, make in QUERIES.items()}
    for _ in range(5):
        with Session(engine) as session:
            futures = {
                name: current_executor().submit(as_call(make(session), session))
                for name, make in QUERIES.items()
            }
            for name, future in reversed(futures.items()):
                assert identities(future.result()) == wanted[name], name
    wait_until(lambda: engine.pool.checkedout() == 0)


def test_a_table_that_is_a_mapped_class_s_own_is_a_table(session: Session) -> None:
    assert isinstance(User.__table__, Table)
    (result,) = run_in_parallel([select(User.__table__).order_by(User.id)], session=session)
    assert [row.id for row in result] == list(range(1, 51))
