"""The proxy of the fault tests: what it does to bytes, and what it never does to them."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.faults.proxy import HOST, Proxy
from tests.helpers import wait_until

CEILING = 15  # seconds that nothing takes


class Echo:
    """A server that sends back what it gets, and half-closes when its client does."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.ends: list[str] = []  # how each connection has ended
        self._threads = [threading.Thread(target=self._accept, name="echo")]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._echo, args=(connection,), name="echo")
            self._threads.append(thread)
            thread.start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(CEILING)
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
                self.ends.append("closed")
            except OSError as error:
                self.ends.append(type(error).__name__)

    def refuse(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that accepts
        self._threads[0].join()
        self.listener.close()

    def close(self) -> None:
        if self.listener.fileno() >= 0:
            self.refuse()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo.port) as running:
        yield running


@pytest.fixture
def connect(proxy):
    with ExitStack() as stack:

        def make():
            made = socket.create_connection((HOST, proxy.port), CEILING)
            return stack.enter_context(made)

        yield make


def exchange(connection, data):
    """Send, half-close, and read to the end: what came back, in the pieces in which it came."""
    sender = threading.Thread(target=send_all, args=(connection, data))
    sender.start()
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    sender.join()
    return pieces


def send_all(connection, data):
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def echoed(connection, data):
    """Send, and read as much; the connection stays open."""
    connection.sendall(data)
    came = b""
    while len(came) < len(data):
        came += connection.recv(1 << 16)
    return came


def read_to_the_end(connection):
    while connection.recv(1 << 16):
        pass


def is_silent(connection, seconds=0.3):
    """Whether nothing arrives, and the connection stays, for so long."""
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(CEILING)
    return False


def no_fault(_proxy):
    """Leave it as it is."""


@pytest.mark.parametrize(
    ("fault", "size"),
    [
        (no_fault, 5_000_000),
        (lambda proxy: proxy.delay(0.05), 5_000_000),
        (lambda proxy: proxy.limit(2_000_000), 500_000),
        (lambda proxy: proxy.slice(7), 2_000),
        (lambda proxy: (proxy.slice(100), proxy.delay(0.05), proxy.limit(200_000)), 20_000),
        (lambda proxy: (proxy.swallow(), proxy.normal()), 5_000_000),
    ],
    ids=["normal", "delay", "bandwidth", "slices", "all at once", "after a black hole"],
)
def test_bytes_pass_unchanged_and_in_order(proxy, connect, fault, size):
    data = random.Random(size).randbytes(size)
    fault(proxy)
    assert b"".join(exchange(connect(), data)) == data
    wait_until(lambda: proxy.connections == 0)


def test_a_delay_holds_bytes_up_in_each_direction_and_counts_for_open_connections(proxy, connect):
    connection = connect()
    echoed(connection, b"before")
    proxy.delay(0.2)
    began = time.monotonic()
    assert echoed(connection, b"there and back") == b"there and back"
    assert 0.4 <= time.monotonic() - began < CEILING


def test_a_delay_is_the_same_for_many_bytes_as_for_few(proxy, connect):
    proxy.delay(0.2)
    began = time.monotonic()
    exchange(connect(), bytes(3_000_000))  # 46 chunks, and more: not 46 delays
    assert time.monotonic() - began < 46 * 0.2


def test_a_delay_that_is_ended_lets_go_of_what_it_held(proxy, connect):
    connection = connect()
    proxy.delay(1000)
    connection.sendall(b"held")
    assert is_silent(connection)
    proxy.normal()
    assert connection.recv(4) == b"held"


def test_a_bandwidth_lets_so_many_bytes_through_in_a_second(proxy, connect):
    proxy.limit(100_000)
    began = time.monotonic()
    exchange(connect(), bytes(50_000))
    assert 0.45 <= time.monotonic() - began < CEILING  # the last piece is followed by no other


def test_slices_arrive_one_after_the_other(proxy, connect):
    data = bytes(range(250)) * 2
    assert len(exchange(connect(), data)) < 10
    proxy.slice(1)
    pieces = exchange(connect(), data)
    assert len(pieces) > 10
    assert b"".join(pieces) == data


def test_a_reset_is_seen_as_one_by_client_and_server(proxy, echo, connect):
    connections = [connect(), connect()]
    for connection in connections:
        echoed(connection, b"before")
    proxy.reset()
    for connection in connections:
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    wait_until(lambda: echo.ends == ["ConnectionResetError"] * 2)
    assert echoed(connect(), b"a new one") == b"a new one"


def test_a_reset_reaches_those_in_a_black_hole(proxy, connect):
    old = connect()
    echoed(old, b"before")
    proxy.swallow()
    new = connect()
    wait_until(lambda: proxy.connections == 2)
    proxy.reset()
    for connection in (old, new):
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_refusal_is_for_new_connections_alone_and_ends(proxy, connect):
    connection = connect()
    echoed(connection, b"before")
    port = proxy.port
    for _ in range(3):
        proxy.refuse()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connect()
        assert echoed(connection, b"still") == b"still"
        proxy.normal()
        assert echoed(connect(), b"again") == b"again"
    assert proxy.port == port


def test_nobody_else_gets_the_port_while_it_refuses(proxy):
    proxy.refuse()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, proxy.port))


def test_a_black_hole_keeps_connections_and_lets_nothing_arrive(proxy, echo, connect):
    old = connect()
    echoed(old, b"before")
    proxy.swallow()
    new = connect()  # it is accepted
    for connection in (old, new):
        connection.sendall(b"into the dark")
        assert is_silent(connection)
    assert echo.ends == []
    proxy.normal()
    for connection in (old, new):
        assert connection.recv(1 << 16) == b"into the dark"


def test_a_black_hole_keeps_the_end_of_a_connection_to_itself(proxy, echo, connect):
    connection = connect()
    echoed(connection, b"before")
    proxy.swallow()
    connection.close()
    time.sleep(0.2)  # nothing is to happen: there is nothing to wait for
    assert (proxy.connections, echo.ends) == (1, [])
    proxy.normal()
    wait_until(lambda: (proxy.connections, echo.ends) == (0, ["closed"]))


def test_a_client_is_reset_where_the_server_refuses(connect, echo):
    echo.refuse()
    with pytest.raises(ConnectionResetError):
        connect().recv(1)


def test_who_closes_while_bytes_are_under_way_harms_no_other(proxy, connect):
    other = connect()
    for _ in range(20):
        leaving = connect()
        leaving.sendall(bytes(100_000))
        leaving.close()  # with bytes unread: a reset
    wait_until(lambda: proxy.connections == 1)
    assert echoed(other, b"well") == b"well"


def descriptors():
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add((entry.name, entry.readlink()))
    return found


@pytest.mark.parametrize("state", ["idle", "in a delay", "in a black hole", "refusing"])
def test_nothing_is_left_when_the_block_ends(echo, state):
    threads, before = threading.active_count(), descriptors()
    with Proxy(echo.port) as proxy:
        clients = [socket.create_connection((HOST, proxy.port), CEILING) for _ in range(5)]
        for client in clients:
            echoed(client, b"before")
        if state == "in a delay":
            proxy.delay(1000)
        elif state == "in a black hole":
            proxy.swallow()
        elif state == "refusing":
            proxy.refuse()
        for client in clients:
            client.sendall(b"never to be answered" * 1000)
    for client in clients:
        with client, pytest.raises(ConnectionResetError):
            read_to_the_end(client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), CEILING)
    wait_until(lambda: len(echo.ends) == 5)
    wait_until(lambda: threading.active_count() <= threads)
    wait_until(lambda: not descriptors() - before)
