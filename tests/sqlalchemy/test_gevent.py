"""Statements under gevent: each program runs in a Python of its own."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from tests.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

    from stack.native.mariadb import MariaDB
    from stack.native.postgresql import PostgreSQL
    from tests.sqlalchemy.databases import Database

pytest.importorskip("gevent", reason="gevent has no wheel for this Python yet")

LIMIT = 90.0  # seconds for a program

PATCHED = {"before the import": "PATCH\nIMPORT", "after the import": "IMPORT\nPATCH"}
PATCH = "from gevent import monkey; monkey.patch_all()"
IMPORT = "import commonpool.ext.sqlalchemy, commonpool.ext.flask, psycopg"

SETUP = """
    import atexit, itertools, logging, os, random, signal, time
    import gevent
    from sqlalchemy import create_engine, func, insert, literal, select, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.orm import Session, scoped_session, selectinload, sessionmaker
    from commonpool import DeadlineExceeded, PoolConfig, current_executor, run_in_parallel
    from commonpool.process import configure, current_pool
    from tests.sqlalchemy.models import ITEMS, ORDERS, USERS, Item, Order, Tag, User

    logging.basicConfig(format="%(message)s")
    engine = create_engine(os.environ["DATABASE"], pool_size=16, max_overflow=0)
    sleep = func.pg_sleep if engine.dialect.name == "postgresql" else func.sleep

    atexit.register(lambda: engine.dispose())  # psycopg warns of what is left open
    if os.environ.get("USE_FIRST"):
        with engine.connect() as connection:
            connection.scalar(select(1))

    def asleep(seconds, mark):
        return select(literal(mark), sleep(seconds))

    def marks(results):
        return [result.one()[0] for result in results]

    class Ticker:
        "A greenlet beside: its longest time between two turns, in seconds."
        longest = 0.0
        def run(self):
            last = time.monotonic()
            while True:
                gevent.sleep(0.005)
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now

    def others_running():
        with engine.connect() as connection:
            return connection.scalar(text(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                " AND pid <> pg_backend_pid() AND query LIKE '%asleep%'"
                if engine.dialect.name == "postgresql" else
                "SELECT count(*) FROM information_schema.processlist"
                " WHERE id <> connection_id() AND info LIKE '%asleep%'"
            ))
"""

servers = pytest.mark.databases("mariadb", "postgresql")
drivers_in_c = pytest.mark.databases("mariadb-mysqlclient")
whenever_it_is_patched = pytest.mark.parametrize("order", PATCHED.values(), ids=PATCHED.keys())


def run(source: str, url: str, order: str = "PATCH\nIMPORT", **variables: str) -> list[str]:
    """What a program prints, line by line. Nothing may be left on its stderr."""
    program = order.replace("PATCH", PATCH).replace("IMPORT", IMPORT)
    done = run_python(
        "\n".join([program, textwrap.dedent(SETUP), textwrap.dedent(source)]),
        limit=LIMIT,
        **{"DATABASE": url, **variables},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@servers
@whenever_it_is_patched
def test_four_statements_take_as_long_as_one_while_other_greenlets_go_on(
    database: Database, order: str
) -> None:
    first, inside, longest = run(
        """
        with Session(engine) as session:
            session.execute(select(1))  # connected
            ticker = Ticker()
            gevent.spawn(ticker.run)
            begun = time.monotonic()
            print(marks(run_in_parallel([asleep(1, mark) for mark in range(4)], session=session)))
            print(time.monotonic() - begun)
        print(ticker.longest)
        """,
        database.url,
        order,
    )
    assert first == "[0, 1, 2, 3]"
    assert 1.0 <= float(inside) < 3.0  # 4.0 one after another
    assert float(longest) < 0.9  # it blocks for no statement


@whenever_it_is_patched
def test_psycopg2_gives_way_too(postgresql_server: PostgreSQL, order: str) -> None:
    pytest.importorskip("psycopg2")
    url = make_url(postgresql_server.url).set(drivername="postgresql+psycopg2")
    assert run(
        """
        logging.disable()  # the statements that are abandoned
        ticker = Ticker()
        gevent.spawn(ticker.run)
        with Session(engine) as session:
            print(marks(run_in_parallel([asleep(1, mark) for mark in range(4)], session=session)))
            try:
                run_in_parallel([asleep(30, "asleep")] * 3, session=session, timeout=0.3)
            except DeadlineExceeded:
                print("in time")
        while others_running():
            gevent.sleep(0.01)
        print(ticker.longest < 0.9)
        """,
        url.render_as_string(hide_password=False),
        order,
    ) == ["[0, 1, 2, 3]", "in time", "True"]


@servers
def test_a_request_s_own_statement_lets_other_greenlets_go_on(database: Database) -> None:
    assert run(
        """
        def own(mark):
            with Session(engine) as session:
                return session.execute(asleep(0.5, mark)).one()[0]
        current_executor().submit(int).result()  # the pool is there
        begun = time.monotonic()
        greenlets = [gevent.spawn(own, mark) for mark in range(8)]
        gevent.joinall(greenlets, raise_error=True)
        print([greenlet.value for greenlet in greenlets], time.monotonic() - begun < 3)
        """,
        database.url,
    ) == ["[0, 1, 2, 3, 4, 5, 6, 7] True"]


@drivers_in_c
@whenever_it_is_patched
def test_a_thousand_rounds_of_sixteen_at_once_lose_none(database: Database, order: str) -> None:
    rounds, stats = run(
        """
        def one_round(number):
            expected = list(range(16 * number, 16 * number + 16))
            with Session(engine) as session:
                found = run_in_parallel([select(literal(mark)) for mark in expected],
                                        session=session, timeout=60)
                return [result.scalar() for result in found] == expected
        numbers = iter(range(1000))
        def client():
            return [one_round(number) for number in numbers]
        greenlets = [gevent.spawn(client) for _ in range(4)]
        gevent.joinall(greenlets, raise_error=True)
        right = [result for greenlet in greenlets for result in greenlet.value]
        print(len(right), all(right))
        print(current_pool().stats().run_by_workers > 0, engine.pool.checkedout())
        """,
        database.url,
        order,
    )
    assert (rounds, stats) == ("1000 True", "True 0")


@servers
@whenever_it_is_patched
def test_objects_are_those_of_the_session(database: Database, order: str) -> None:
    assert run(
        """
        sessions = scoped_session(sessionmaker(engine))
        def request():
            mine = sessions.get(User, 7)
            users, orders, count = run_in_parallel(
                [select(User).order_by(User.id),
                 sessions.query(Order).options(selectinload(Order.items)),
                 sessions.query(Item).count],
                session=sessions, timeout=60)
            same = users.scalars().all()[6] is mine
            same = same and current_executor().submit(sessions.get, User, 7).result() is mine
            numbers = len(orders), sum(len(order.items) for order in orders), count
            sessions.remove()
            return same, numbers == (ORDERS, ITEMS, ITEMS)
        greenlets = [gevent.spawn(request) for _ in range(12)]
        gevent.joinall(greenlets, raise_error=True)
        print({greenlet.value for greenlet in greenlets}, engine.pool.checkedout())
        """,
        database.url,
        order,
    ) == ["{(True, True)} 0"]


@servers
def test_more_requests_than_connections_lose_none(database: Database) -> None:
    assert run(
        """
        engine = create_engine(os.environ["DATABASE"], pool_size=5, max_overflow=0, pool_timeout=60)
        def request(number):
            with Session(engine) as session:
                return marks(run_in_parallel([asleep(0.001, number * 5 + i) for i in range(5)],
                                             session=session))
        greenlets = [gevent.spawn(request, number) for number in range(64)]
        gevent.joinall(greenlets, raise_error=True)
        print([mark for greenlet in greenlets for mark in greenlet.value] == list(range(320)))
        """,
        database.url,
    ) == ["True"]


@servers
@whenever_it_is_patched
def test_a_deadline_stops_the_statements_in_the_database(database: Database, order: str) -> None:
    assert run(
        """
        logging.disable()  # the statements that are abandoned
        begun = time.monotonic()
        with Session(engine) as session:
            try:
                run_in_parallel([asleep(30, "asleep")] * 4, session=session, timeout=0.3)
            except DeadlineExceeded:
                print("in time", time.monotonic() - begun < 10)
        while others_running():
            gevent.sleep(0.01)
        while current_pool().stats().busy:
            gevent.sleep(0.01)
        print(time.monotonic() - begun < 20, engine.pool.checkedout())
        """,
        database.url,
        order,
    ) == ["in time True", "True 0"]


@servers
@pytest.mark.parametrize("way", ["statement", "fan-out", "at home"])
def test_a_timeout_of_gevent_s_ends_the_wait_and_nobody_gets_the_connection(
    database: Database, way: str
) -> None:
    assert run(
        """
        logging.disable()  # the statements that are abandoned
        begun = time.monotonic()
        with Session(engine) as session:
            if os.environ["WAY"] == "at home":  # after a write nothing may leave the session
                session.add(Tag(name="new"))
                session.flush()
            try:
                with gevent.Timeout(0.3):
                    if os.environ["WAY"] == "statement":
                        session.execute(asleep(30, "asleep"))
                    else:
                        run_in_parallel([asleep(30, "asleep")] * 3, session=session)
            except gevent.Timeout:
                print("in time", time.monotonic() - begun < 10)
            session.rollback()
        with Session(engine) as session:
            numbers = list(range(40))
            found = run_in_parallel([asleep(0, n) for n in numbers], session=session)
            print(marks(found) == numbers)
        while current_pool().stats().busy:
            gevent.sleep(0.01)
        print(time.monotonic() - begun < 20, engine.pool.checkedout())
        """,
        database.url,
        WAY=way,
    ) == ["in time True", "True", "True 0"]


@servers
def test_greenlets_that_are_killed_at_any_moment_disturb_nobody(database: Database) -> None:
    seed = os.urandom(4).hex()
    assert run(
        """
        logging.disable()
        chance = random.Random(os.environ["SEED"])
        def client(number):
            for base in itertools.count(1000 * number, 6):
                with Session(engine) as session:
                    expected = list(range(base, base + 6))
                    found = run_in_parallel([asleep(0.001, n) for n in expected], session=session)
                    if marks(found) != expected:
                        return "wrong"
        wrong = 0
        for _ in range(15):
            greenlets = [gevent.spawn(client, number) for number in range(10)]
            while greenlets:
                gevent.sleep(chance.random() * 0.02)
                victim = greenlets.pop(chance.randrange(len(greenlets)))
                victim.kill(timeout=20)
                wrong += not victim.dead or not isinstance(victim.value, gevent.GreenletExit)
        while current_pool().stats().busy:
            gevent.sleep(0.01)
        print(wrong, engine.pool.checkedout())
        """,
        database.url,
        SEED=seed,
    ) == ["0 0"], seed


@drivers_in_c
def test_a_server_that_does_not_answer_holds_up_no_other_greenlet(
    database: Database, mariadb_server: MariaDB
) -> None:
    program = """
        logging.disable()
        def request():
            with Session(engine) as session:
                try:
                    run_in_parallel([asleep(0, n) for n in range(4)], session=session, timeout=1.0)
                except DeadlineExceeded:
                    return "in time"
        with Session(engine) as session:
            marks(run_in_parallel([asleep(0.1, n) for n in range(4)], session=session, timeout=20))
        server = int(os.environ["SERVER"])
        ticker = Ticker()
        gevent.spawn(ticker.run)
        os.kill(server, signal.SIGSTOP)
        try:
            greenlets = [gevent.spawn(request) for _ in range(8)]
            gevent.joinall(greenlets, timeout=30, raise_error=True)
        finally:
            os.kill(server, signal.SIGCONT)
        print({greenlet.value for greenlet in greenlets}, ticker.longest < 0.9)
        with Session(engine) as session:
            print(marks(run_in_parallel([asleep(0, n) for n in range(9)], session=session)))
    """
    assert run(program, database.url, SERVER=str(mariadb_server.child.pid)) == [
        "{'in time'} True",
        "[0, 1, 2, 3, 4, 5, 6, 7, 8]",
    ]


def test_a_database_in_memory_is_the_greenlet_s_own(tmp_path: Path) -> None:
    assert run(
        """
        from tests.sqlalchemy.models import Base, Tag
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            print(run_in_parallel([select(func.count(Tag.id))] * 3, session=session)[2].scalar())
        """,
        f"sqlite:///{tmp_path / 'unused.db'}",
    ) == ["0"]


# What may be met beside


@drivers_in_c
def test_what_a_listener_finds_in_a_thread_local_is_its_greenlets_own(database: Database) -> None:
    assert run(
        """
        from sqlalchemy import event
        import threading
        local = threading.local()
        def request(tenant):
            local.tenant = tenant
            seen = []
            with Session(engine) as session:
                @event.listens_for(session, "do_orm_execute")
                def _(state):
                    seen.append(local.tenant)
                found = run_in_parallel([asleep(0.001, n) for n in range(4)], session=session)
                return seen == [tenant] * 4 and marks(found) == [0, 1, 2, 3]
        greenlets = [gevent.spawn(request, tenant) for tenant in range(8)]
        gevent.joinall(greenlets, raise_error=True)
        print({greenlet.value for greenlet in greenlets})
        """,
        database.url,
    ) == ["{True}"]


@drivers_in_c
@pytest.mark.parametrize("where", ["hub", "native thread"])
def test_a_session_that_nobody_closed_is_collected_without_harm(
    database: Database, where: str
) -> None:
    assert run(
        """
        import gc, threading
        main = threading.get_native_id()
        elsewhere = []
        gc.callbacks.append(
            lambda phase, _: threading.get_native_id() == main or elsewhere.append(phase))
        def leak():
            session = Session(engine)
            session.execute(select(1))
            cycle = [session]
            cycle.append(cycle)
        rows = text("SELECT a.seq FROM seq_1_to_200 a, seq_1_to_100 b")
        for _ in range(6):
            leak()
            with Session(engine) as session:
                assert len(session.execute(rows).all()) == 20_000
        print(gc.isenabled(), elsewhere)
        leak()
        if os.environ["WHERE"] == "hub":
            gevent.get_hub().loop.run_callback(gc.collect)
            gevent.sleep(0.01)
        gc.collect()
        while engine.pool.checkedout():
            gevent.sleep(0.01)
        with Session(engine) as session:
            print(marks(run_in_parallel([asleep(0, n) for n in range(9)], session=session)))
        """,
        database.url,
        WHERE=where,
    ) == ["True []", "[0, 1, 2, 3, 4, 5, 6, 7, 8]"]


@drivers_in_c
def test_a_forked_child_asks_its_database_on_threads_of_its_own(database: Database) -> None:
    assert run(
        """
        with Session(engine) as session:
            marks(run_in_parallel([asleep(0, n) for n in range(4)], session=session))
        child = os.fork()
        if not child:
            with gevent.Timeout(20), Session(engine) as session:
                found = marks(run_in_parallel([asleep(0, n) for n in range(4)], session=session))
            os._exit(0 if found == [0, 1, 2, 3] else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        database.url,
    ) == ["0"]


@drivers_in_c
def test_a_connect_that_nobody_answers_can_be_ended(database: Database) -> None:
    assert run(
        """
        import socket
        current_executor().submit(int).result()  # the pool is there
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            other = create_engine(f"mysql+mysqldb://u:p@127.0.0.1:{port}/x?connect_timeout=20")
            greenlet = gevent.spawn(other.connect)
            gevent.sleep(0.2)
            greenlet.kill(timeout=5)
            print(greenlet.dead, flush=True)
        os._exit(0)  # the driver still waits
        """,
        database.url,
    ) == ["True"]


@drivers_in_c
def test_of_two_endings_while_a_statement_runs_the_last_counts(database: Database) -> None:
    assert run(
        """
        logging.disable()
        current_executor().submit(int).result()
        def victim():
            with Session(engine) as session:
                try:
                    with gevent.Timeout(0.2):
                        session.execute(asleep(0.6, 0))
                except gevent.Timeout:
                    return "lives on"
        def without_cut(self):
            "As for a connection that cannot be cut."
        from commonpool.ext.sqlalchemy import blocking
        blocking._Cut.__call__ = without_cut
        greenlet = gevent.spawn(victim)
        gevent.sleep(0.4)  # it was timed out, and waits for the driver
        greenlet.kill(timeout=20)
        print(repr(greenlet.value))
        """,
        database.url,
    ) == ["GreenletExit()"]


@drivers_in_c
def test_an_exception_of_the_users_own_ends_a_wait_like_any_other(database: Database) -> None:
    assert run(
        """
        logging.disable()
        current_executor().submit(int).result()
        class Late(Exception):
            pass
        session = Session(engine)
        try:
            with gevent.Timeout(0.3, Late):
                session.execute(asleep(30, 0))
        except Late:
            session.rollback()
            print(session.execute(select(1)).scalar())
        """,
        database.url,
    ) == ["1"]


@drivers_in_c
def test_without_a_native_thread_to_be_had_a_statement_is_executed_once(database: Database) -> None:
    assert run(
        """
        from unittest import mock
        from gevent import threadpool
        current_executor().submit(int).result()
        refused = RuntimeError("can't start new thread")
        with mock.patch.object(threadpool, "start_new_thread", side_effect=refused):
            with Session(engine) as session:
                session.add(Tag(name="once"))
                session.commit()
        with Session(engine) as session:
            print(session.scalar(select(func.count(Tag.id)).where(Tag.name == "once")))
        """,
        database.url,
    ) == ["1"]


@drivers_in_c
def test_an_engine_used_before_the_patch_gives_way_in_requests(database: Database) -> None:
    first, longest = run(
        """
        monkey.patch_all()
        current_executor().submit(int).result()  # what a middleware does with each request
        ticker = Ticker()
        gevent.spawn(ticker.run)
        with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            print(connection.execute(asleep(1, 7)).one()[0])
        print(ticker.longest)
        """,
        database.url,
        "from gevent import monkey\nIMPORT",
        USE_FIRST="yes",
    )
    assert first == "7"
    assert float(longest) < 0.9
