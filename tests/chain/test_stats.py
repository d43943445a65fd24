"""What a running uWSGI says on its stats socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from commonpool.chain.reading import read_chain
from commonpool.chain.stats import read_stats
from commonpool.chain.uwsgi_files import read_uwsgi
from tests.helpers import wait_until

UWSGI = Path(sys.executable).parent / "uwsgi"
LayOut = Callable[[Mapping[str, str]], Path]

APP = """
def application(environ, start_response):
    start_response('200 OK', [])
    return [b'']
"""


@contextmanager
def running(folder: Path, ini: str) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [UWSGI, "--ini", ini], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ini(stats: str, more: str = "") -> str:
    return (
        f"[uwsgi]\nmaster = true\nno-orphans = true\nprocesses = 2\nwsgi-file = app.py\n"
        f"http-socket = 127.0.0.1:0\nstats = {stats}\n{more}"
    )


@pytest.mark.parametrize(
    ("stats", "more"),
    [
        ("%dstats.sock", ""),
        ("stats.sock", ""),
        ("127.0.0.1:{port}", ""),
        (":{port}", ""),
        ("127.0.0.1:{port}", "stats-http = true\n"),
    ],
)
def test_a_running_uwsgi_tells_its_worker_processes(lay_out: LayOut, stats: str, more: str) -> None:
    folder = lay_out({"app.py": APP, "a.ini": ini(stats.format(port=free_port()), more)})
    uwsgi, _ = read_uwsgi("a.ini", {})
    assert read_stats(uwsgi) is None

    with running(folder, "a.ini"):
        wait_until(lambda: read_stats(uwsgi) is not None, limit=20)
        chain = read_chain(uwsgi="a.ini")

    assert chain.uwsgi is not None
    assert chain.uwsgi.stats is not None
    assert len(chain.uwsgi.stats["workers"]) == 2
    assert chain.unreadable == ()


def test_without_the_option_there_is_nothing_to_ask(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nmaster = true\n"})

    assert read_stats(read_uwsgi("a.ini", {})[0]) is None


@pytest.mark.parametrize("stats", ["missing.sock", "127.0.0.1:1", "@nobody", "", "x" * 300, "a:b"])
def test_nobody_there_is_no_error(lay_out: LayOut, stats: str) -> None:
    lay_out({"a.ini": f"[uwsgi]\nstats = {stats}\n"})

    assert read_stats(read_uwsgi("a.ini", {})[0]) is None


@pytest.mark.parametrize(
    "answer", [b"", b"hello", b"[1, 2]", b"{}", b"HTTP/1.0 200 OK\r\n\r\nx", b"[" * 9999]
)
def test_another_server_there_is_no_error(lay_out: LayOut, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lay_out({"a.ini": f"[uwsgi]\nstats = 127.0.0.1:{listener.getsockname()[1]}\n"})

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert read_stats(read_uwsgi("a.ini", {})[0]) is None
        finally:
            thread.join()


def test_one_that_never_ends_is_given_up(lay_out: LayOut) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lay_out({"a.ini": f"[uwsgi]\nstats = 127.0.0.1:{listener.getsockname()[1]}\n"})
        begin = time.monotonic()

        assert read_stats(read_uwsgi("a.ini", {})[0], seconds=0.2) is None

    assert time.monotonic() - begin < 10
