"""A fork with open connections never shares one: each program runs in a Python of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import run_python

if TYPE_CHECKING:
    from tests.sqlalchemy.databases import Database

ROOT = Path(__file__).resolve().parents[2]

LIMIT = 90.0  # seconds for a program; a hang of a child ends it by its alarm, before that

SETUP = """
    import gc, json, multiprocessing, os, signal, sys, threading, time, traceback
    from sqlalchemy import create_engine, event, func, insert, literal, select, text
    from sqlalchemy.orm import Session, selectinload
    import commonpool.ext.sqlalchemy
    from commonpool import DeadlineExceeded, WrongThread, current_executor, run_in_parallel
    from tests.sqlalchemy.models import ITEMS, ORDERS, USERS, Item, Order, Tag, User

    POOL = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 15}
    server = not os.environ["DATABASE"].startswith("sqlite")

    def id_of(connection):
        if hasattr(connection, "thread_id"):
            return connection.thread_id()
        if hasattr(connection, "info"):
            return connection.info.backend_pid
        return id(connection)  # SQLite has no server: an object that both still have

    def make_engine(**options):
        engine = create_engine(os.environ["DATABASE"], **{**POOL, **options})
        engine.touched = set()
        for name in ("checkout", "reset", "close", "invalidate"):
            event.listen(engine, name, lambda connection, *_: engine.touched.add(id_of(connection)))
        ping = engine.dialect.do_ping
        def do_ping(connection):
            engine.touched.add(id_of(connection))
            return ping(connection)
        engine.dialect.do_ping = do_ping
        return engine

    def all_ids(engine):
        "Of all connections that there can be, each of which answers."
        connections = [engine.connect() for _ in range(5)]
        for connection in connections:
            assert connection.scalar(select(literal(7))) == 7
        ids = {id_of(connection.connection.dbapi_connection) for connection in connections}
        for connection in connections:
            connection.close()
        return ids

    def plainly(engine, number):
        with Session(engine) as session:
            user = session.get(User, number % USERS + 1, options=[selectinload(User.orders)])
            assert user.name == f"User {number % USERS + 1:02}"
            assert all(order.user_id == user.id for order in user.orders)
            assert session.scalar(select(literal(number))) == number

    def in_parallel(engine, number):
        with Session(engine) as session:
            numbers = [number * 10 + n for n in range(3)]
            *results, items, orders = run_in_parallel(
                [
                    *(select(literal(n)) for n in numbers),
                    session.query(Item).count,
                    session.query(Order).order_by(Order.id),
                ],
                session=session,
            )
            assert [result.scalar_one() for result in results] == numbers
            assert items == ITEMS
            assert [order.id for order in orders] == list(range(1, ORDERS + 1))

    def work(engine, seconds):
        "Four threads, for so long: every answer is right."
        ends_at = time.monotonic() + seconds
        errors, done = [], []
        def run(step, first):
            number = first + os.getpid() * 1000
            try:
                while not errors:
                    step(engine, number)
                    number += 1
                    done.append(step)
                    if time.monotonic() >= ends_at:
                        return
            except BaseException as error:
                errors.append(error)
        steps = (plainly, in_parallel, plainly, in_parallel)
        threads = [threading.Thread(target=run, args=(s, 100 * n)) for n, s in enumerate(steps)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        assert {plainly, in_parallel} == set(done)

    class Child:
        "A fork that does something, and tells what it returned."
        def __init__(self, check, *args, how="_exit"):
            reader, writer = os.pipe()
            self.read = os.fdopen(reader)
            self.how = how
            def run():
                signal.alarm(40)  # a hang ends the child with a signal
                try:
                    with os.fdopen(writer, "w") as answer:
                        json.dump(check(*args), answer)
                except BaseException:
                    traceback.print_exc()
                    sys.stderr.flush()
                    if how == "_exit":
                        os._exit(1)
                    sys.exit(1)
            if how == "multiprocessing":
                self.process = multiprocessing.get_context("fork").Process(target=run)
                self.process.start()
            else:
                self.pid = os.fork()
                if self.pid == 0:
                    run()
                    if how == "_exit":
                        os._exit(0)
                    sys.exit(0)  # everything is collected on the way
            os.close(writer)

        def end(self):
            with self.read as read:
                text = read.read()
            if self.how == "multiprocessing":
                self.process.join()
                code = self.process.exitcode
            else:
                code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            assert code == 0, f"the child ended with {code}"
            return json.loads(text)

    def wrong_thread(call):
        try:
            call()
        except WrongThread as error:
            return str(error)
        raise AssertionError("no error")

"""


def passes(source: str, database: Database, **variables: str) -> None:
    """Run a program that ends with 0 if all is well."""
    done = run_python(
        SETUP + source, limit=LIMIT, DATABASE=database.url, PYTHONPATH=str(ROOT), **variables
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("how", "first"),
    [("_exit", "plainly"), ("exit", "in_parallel"), ("multiprocessing", "in_parallel")],
)
def test_parent_and_child_work_at_once_each_on_connections_of_its_own(
    how: str, first: str, database: Database
) -> None:
    passes(
        """
    engine = make_engine()
    work(engine, 0.1)
    before = all_ids(engine)
    assert len(before) == 5

    def check():
        engine.touched.clear()
        globals()[os.environ["FIRST"]](engine, 1)
        gc.collect()
        work(engine, 1)
        gc.collect()
        return list(engine.touched)

    child = Child(check, how=os.environ["HOW"])
    work(engine, 1)
    touched = set(child.end())
    assert touched
    assert not touched & (engine.touched | before), (touched, before)
    assert all_ids(engine) == before
    in_parallel(engine, 1)
    """,
        database,
        HOW=how,
        FIRST=first,
    )


@pytest.mark.parametrize(
    ("options", "first"),
    [('{"pool_pre_ping": true}', "in_parallel"), ('{"pool_recycle": 0}', "plainly")],
)
def test_connections_that_are_tried_or_replaced_before_use_are_left_to_the_parent(
    options: str, first: str, database: Database
) -> None:
    passes(
        """
    engine = make_engine(**json.loads(os.environ["OPTIONS"]))
    held = [engine.connect() for _ in range(5)]
    before = {id_of(connection.connection.dbapi_connection) for connection in held}
    for connection in held:
        connection.close()

    def check():
        engine.touched.clear()
        globals()[os.environ["FIRST"]](engine, 1)
        work(engine, 0.3)
        gc.collect()
        return list(engine.touched)

    child = Child(check)
    touched = set(child.end())
    assert touched
    assert not touched & before, (touched, before)
    work(engine, 0.1)
    """,
        database,
        OPTIONS=options,
        FIRST=first,
    )


def test_a_session_with_a_connection_of_the_parent_is_a_clear_error_in_the_child(
    database: Database,
) -> None:
    passes(
        """
    engine = make_engine()
    session = Session(engine)
    session.get(User, 1)

    def check():
        ways = [
            lambda: session.scalar(select(literal(1))),
            lambda: session.get(User, 2),
            session.query(Item).count,
            lambda: run_in_parallel([select(Tag)] * 2, session=session),
            lambda: run_in_parallel([session.query(Order).count, select(Tag)], session=session),
            lambda: run_in_parallel([select(Tag).with_for_update()], session=session),
            lambda: current_executor().submit(session.query(User).all).result(),
        ]
        return [wrong_thread(way) for way in ways]

    for message in Child(check).end():
        assert f"a connection that process {os.getpid()} opened" in message, message
        assert "forked from it" in message
        assert "close the session before the fork, or open it after" in message
    assert session.get(User, 2).name == "User 02"
    """,
        database,
    )


@pytest.mark.parametrize(
    "end", ["close", "rollback", "commit", "close the connection", "collect", "leave"]
)
def test_the_end_of_an_inherited_session_in_the_child_does_not_reach_the_parents_transaction(
    end: str, database: Database
) -> None:
    passes(
        """
    engine = make_engine()
    session = Session(engine)
    session.add(Tag(name="of the parent"))
    session.flush()
    ours = id_of(session.connection().connection.dbapi_connection)
    mine = select(func.count()).where(Tag.name == "of the parent")

    def use_then_let_go():
        global session
        engine.touched.clear()
        wrong_thread(lambda: session.scalar(mine))
        end = os.environ["END"]
        try:
            if end == "close the connection":
                session.connection().close()
            elif end not in ("collect", "leave"):
                getattr(session, end)()
        except Exception:
            pass  # the child may be told so; what counts is the parent
        if end != "leave":
            del session
        gc.collect()
        plainly(engine, 1)

    Child(use_then_let_go, how="exit").end()
    assert session.scalar(mine) == 1, "the parent's transaction is lost"
    assert id_of(session.connection().connection.dbapi_connection) == ours
    with Session(engine) as other:
        assert other.scalar(mine) == 0, "the parent's transaction was committed"
    session.rollback()
    assert session.scalar(mine) == 0
    """,
        database,
        END=end,
    )


def test_a_session_of_the_parent_without_a_connection_works_in_the_child(
    database: Database,
) -> None:
    passes(
        """
    engine = make_engine()
    session = Session(engine)
    session.get(User, 1)
    run_in_parallel([select(Tag), session.query(Order)], session=session)
    session.rollback()
    before = all_ids(engine)

    def check():
        engine.touched.clear()
        assert session.get(User, 2).name == "User 02"
        tags, orders = run_in_parallel([select(Tag), session.query(Order)], session=session)
        assert (len(tags.all()), len(orders)) == (8, ORDERS)
        session.close()
        return list(engine.touched)

    touched = set(Child(check).end())
    assert touched and not touched & before
    assert all_ids(engine) == before
    assert session.get(User, 2).name == "User 02"
    """,
        database,
    )


def test_each_of_several_engines_and_a_child_of_the_child_start_empty(database: Database) -> None:
    passes(
        """
    engines = [make_engine(), make_engine()]
    # one that shares the pool of another
    options = engines[1].execution_options(isolation_level="SERIALIZABLE")
    for engine in (*engines, options):
        in_parallel(engine, 1)
    before = {id for engine in engines for id in all_ids(engine)}

    def check():
        for engine in engines:
            engine.touched.clear()
        for engine in (options, *engines):
            in_parallel(engine, 2)
            plainly(engine, 2)
        return list(engines[0].touched | engines[1].touched)

    def check_twice():
        mine = check()
        theirs = Child(check).end()
        assert not set(mine) & set(theirs), (mine, theirs)
        check()
        return mine + theirs

    touched = set(Child(check_twice).end())
    assert touched and not touched & before
    assert {id for engine in engines for id in all_ids(engine)} == before
    """,
        database,
    )


@pytest.mark.databases("mariadb", "postgresql")
def test_statements_are_stopped_at_their_deadlines_in_parent_and_child(database: Database) -> None:
    passes(
        """
    engine = make_engine()
    sleep = func.sleep(20) if engine.dialect.name == "mysql" else func.pg_sleep(20)

    def stopped():
        with Session(engine) as session:
            began = time.monotonic()
            try:
                run_in_parallel([select(sleep), select(Tag)], session=session, timeout=0.3)
            except DeadlineExceeded:
                assert time.monotonic() - began < 15
            else:
                raise AssertionError("no error")

    def check():
        engine.touched.clear()
        stopped()
        work(engine, 0.2)
        gc.collect()
        return list(engine.touched)

    stopped()
    before = all_ids(engine)
    child = Child(check, how="exit")
    stopped()
    assert not set(child.end()) & before
    stopped()
    work(engine, 0.2)
    stopped()
    """,
        database,
    )
    assert database.statements_running() == []


# SQLite has locks of its own for the whole process, which a thread may hold when another one forks.
@pytest.mark.databases("mariadb", "postgresql")
@pytest.mark.parametrize("first", ["plainly", "in_parallel"])
def test_a_fork_while_threads_of_the_parent_execute_statements_disturbs_none(
    first: str, database: Database
) -> None:
    passes(
        """
    engine = make_engine()
    work(engine, 0.1)
    before = all_ids(engine)
    end = threading.Event()
    errors = []

    def traffic():
        try:
            while not end.is_set():
                work(engine, 0.2)
        except BaseException as error:
            errors.append(error)

    def check():
        engine.touched.clear()
        globals()[os.environ["FIRST"]](engine, 1)
        gc.collect()
        in_parallel(engine, 2)
        plainly(engine, 3)
        return list(engine.touched)

    busy = threading.Thread(target=traffic)
    busy.start()
    try:
        for _ in range(10):
            assert not set(Child(check).end()) & before
    finally:
        end.set()
        busy.join()
    if errors:
        raise errors[0]
    assert all_ids(engine) == before
    """,
        database,
        FIRST=first,
    )
