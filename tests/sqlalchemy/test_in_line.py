"""The guarantees of a pool whose connections are given in line, each in its own words."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import TimeoutError  # noqa: A004 - it is the pool's
from sqlalchemy.util.queue import Empty, Queue

from commonpool.ext.sqlalchemy import in_line
from commonpool.ext.sqlalchemy.in_line import ConnectionsInLine, keep_in_line
from tests.helpers import wait_until

CEILING = 20  # seconds after which a test hangs


@pytest.fixture
def used(make_engine):
    """An engine that was used, with so many connections at most."""

    def make(connections, **options):
        engine = make_engine(pool_size=connections, max_overflow=0, **options)
        with engine.connect() as connection:
            connection.execute(select(1)).all()
        return engine

    return make


@pytest.fixture
def in_threads():
    """Has functions called, each in a thread of its own, and waits for them in the end."""
    threads = []

    def start(*functions):
        for function in functions:
            threads.append(threading.Thread(target=function))
            threads[-1].start()

    start.ended = lambda: [thread.join(CEILING) for thread in threads]
    yield start
    start.ended()


def waiting(engine):
    return len(engine.pool._pool._line)  # noqa: SLF001 - how else would a test know


def idle(engine):
    return engine.pool.checkedin()


def test_who_asks_for_a_connection_while_others_wait_has_one_after_them(used, in_threads):
    engine, had = used(1), []

    def asks(name):
        def ask():
            with engine.connect():
                had.append(name)

        return ask

    with engine.connect():
        for number in range(5):
            in_threads(asks(number))
            wait_until(lambda number=number: waiting(engine) == number + 1)
    with engine.connect():  # the thread that gave it back is the last, though it is awake
        assert had == [0, 1, 2, 3, 4]


def test_nobody_waits_while_a_connection_is_idle(used, in_threads):
    engine, barrier = used(3), threading.Barrier(3, timeout=CEILING)

    def ask():
        with engine.connect():
            barrier.wait()

    in_threads(ask, ask, ask)
    in_threads.ended()
    assert not barrier.broken
    assert idle(engine) == 3


def test_nobody_waits_longer_than_the_pools_timeout(used, in_threads):
    engine, errors = used(1, pool_timeout=0.3), []
    began = time.monotonic()

    def ask():
        try:
            engine.connect().close()
        except TimeoutError as error:
            errors.append((str(error), time.monotonic() - began))

    with engine.connect():
        in_threads(*[ask] * 5)
        in_threads.ended()
    assert len(errors) == 5
    assert all("timeout 0.30" in message and seconds < CEILING for message, seconds in errors)
    assert waiting(engine) == 0
    ask()  # and it is there for the next
    assert len(errors) == 5


@pytest.mark.databases("sqlite")
def test_who_stops_waiting_leaves_the_connection_that_was_given_to_it(
    used, in_threads, monkeypatch
):
    engine, had, stopped = used(1), [], []
    wait = in_line._Place.wait  # noqa: SLF001

    def is_interrupted(place, timeout):
        wait(place, timeout)
        if not stopped:
            stopped.append(place.item[0])
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(in_line._Place, "wait", is_interrupted)  # noqa: SLF001

    def is_stopped():
        with pytest.raises(KeyboardInterrupt):
            engine.connect()

    def ask():
        with engine.connect():
            had.append(True)

    with engine.connect():
        in_threads(is_stopped)
        wait_until(lambda: waiting(engine) == 1)
        in_threads(ask)
        wait_until(lambda: waiting(engine) == 2)
    in_threads.ended()
    assert len(stopped) == 1
    assert had == [True]
    assert idle(engine) == 1


@pytest.mark.databases("sqlite")
def test_who_stops_waiting_unserved_is_not_in_line_any_more(used, monkeypatch):
    engine = used(1)

    def interrupt(_place, _timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(in_line._Place, "wait", interrupt)  # noqa: SLF001
    with engine.connect():
        with pytest.raises(KeyboardInterrupt):
            engine.connect()
        assert waiting(engine) == 0
    assert idle(engine) == 1


def test_those_who_asked_before_there_was_a_line_are_the_first():
    queue, had = Queue(1), []

    def asks(name):
        def ask():
            had.append((name, queue.get(timeout=CEILING)))
            queue.put(name, block=False)

        return ask

    threads = []
    for name, is_waiting in [
        ("before", lambda: len(queue.not_empty._waiters) == 1),  # noqa: SLF001
        ("first", lambda: len(queue._line) == 1),  # noqa: SLF001
        ("second", lambda: len(queue._line) == 2),  # noqa: SLF001
    ]:
        threads.append(threading.Thread(target=asks(name)))
        threads[-1].start()
        wait_until(is_waiting)
        if name == "before":
            keep_in_line(type("Pool", (), {"_pool": queue}))
    queue.put("a connection", block=False)
    for thread in threads:
        thread.join(CEILING)
    assert had == [("before", "a connection"), ("first", "before"), ("second", "first")]


def test_a_connection_that_is_given_back_in_the_midst_of_giving_is_not_lost():
    # a garbage collection gives a forgotten connection back, anywhere, in any thread
    class Forgetful(ConnectionsInLine):
        forgotten = 1

        def _take(self):
            if self.forgotten:
                self.forgotten = 0
                self.put("the forgotten", block=False)
            return super()._take()

    queue = Queue(2)
    keep_in_line(type("Pool", (), {"_pool": queue}))
    queue.__class__ = Forgetful
    had, threads = [], []
    for number in range(2):
        threads.append(threading.Thread(target=lambda: had.append(queue.get(timeout=CEILING))))
        threads[-1].start()
        wait_until(lambda number=number: len(queue._line) == number + 1)  # noqa: SLF001
    queue.put("the first", block=False)
    for thread in threads:
        thread.join(CEILING)
    assert sorted(had) == ["the first", "the forgotten"]


def test_all_connections_are_back_after_many_have_asked_and_given_up(used, in_threads):
    engine = used(2, pool_timeout=0.001)

    def ask_often():
        for _ in range(50):
            with suppress(TimeoutError):
                engine.connect().close()

    in_threads(*[ask_often] * 8)
    in_threads.ended()
    assert waiting(engine) == 0
    assert engine.pool.checkedout() == 0
    engine.pool._timeout = CEILING  # noqa: SLF001
    with engine.connect(), engine.connect():
        assert engine.pool.checkedout() == 2


def test_a_disposed_engines_new_pool_has_its_line(used):
    engine = used(1)
    engine.dispose()
    assert type(engine.pool._pool) is Queue  # noqa: SLF001
    with engine.connect() as connection:
        connection.execute(select(1)).all()
    assert type(engine.pool._pool) is ConnectionsInLine  # noqa: SLF001


@pytest.fixture
def one_at_a_time():
    """No thread is taken the interpreter away while it does something."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(CEILING)
    yield
    sys.setswitchinterval(before)


@pytest.mark.databases("sqlite")
@pytest.mark.usefixtures("one_at_a_time")
def test_who_has_waited_since_before_there_was_a_line_is_before_those_in_it(in_threads):
    queue, had = Queue(2), []

    def waits_from_before():
        had.append("before")
        queue.put(queue.get(timeout=CEILING))
        had.append("had it")

    in_threads(waits_from_before)
    wait_until(lambda: queue.not_empty._waiters)  # noqa: SLF001 - how else would a test know
    keep_in_line(SimpleNamespace(_pool=queue))
    assert type(queue) is ConnectionsInLine
    queue.put("connection")  # it is woken, and this thread asks again before it is awake
    with pytest.raises(Empty):
        queue.get(block=False)
    assert queue.get(timeout=CEILING) == "connection"
    assert had == ["before", "had it"]


@pytest.mark.databases("sqlite")
def test_a_connection_for_which_somebody_was_woken_in_vain_is_given_to_others(
    in_threads, monkeypatch
):
    queue = Queue(2)

    def waits_from_before():
        with suppress(LookupError):
            queue.get(timeout=CEILING)

    def fails(_queue):
        raise LookupError  # as Ctrl-C would, in the thread that was woken

    in_threads(waits_from_before)
    wait_until(lambda: queue.not_empty._waiters)  # noqa: SLF001 - how else would a test know
    keep_in_line(SimpleNamespace(_pool=queue))
    monkeypatch.setattr(ConnectionsInLine, "_empty", fails)
    queue.put("connection")
    in_threads.ended()
    with pytest.raises(Empty):
        queue.get(block=False)
    monkeypatch.setattr(in_line, "PATIENCE", 0.0)
    assert queue.get(timeout=CEILING) == "connection"
