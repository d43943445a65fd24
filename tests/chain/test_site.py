"""What a running site answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.debug import DebuggedApplication
from werkzeug.serving import make_server

from commonpool.chain.reading import read_chain
from commonpool.chain.site_answers import read_site
from commonpool.chain.text_files import NotReadError

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/away":
        start_response("302 Found", [("Location", "/")])
        return [b""]
    if environ["PATH_INFO"] == "/who":
        start_response("200 OK", [("X-Authorization", environ.get("HTTP_AUTHORIZATION", ""))])
        return [b""]
    start_response("200 OK", [("Content-Type", "text/css"), ("X-Served-By", "me")])
    return [b"hello"]


@contextmanager
def served(app: App) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def talking(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection, which says what it likes."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    while not over.wait(0.01):
                        say(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            over.set()
            thread.join()


def test_a_site_answers_with_its_status_headers_and_time() -> None:
    with served(application) as url:
        site = read_site(url)

    assert (site.status, site.error, site.debugger) == (200, "", False)
    assert site.headers["x-served-by"] == "me"
    assert 0 < site.seconds < 10


def test_redirects_are_not_followed() -> None:
    with served(application) as url:
        site = read_site(f"{url}/away")

    assert (site.status, site.headers["location"]) == (302, "/")


def test_werkzeugs_debugger_is_found() -> None:
    with served(DebuggedApplication(application, evalex=True)) as url:
        assert read_site(f"{url}/some/page?x=1").debugger


def test_a_password_in_the_url_is_sent_and_not_shown() -> None:
    with served(application) as url:
        site = read_site(url.replace("//", "//me:s3cret@") + "/who")

    assert site.headers["x-authorization"] == "Basic bWU6czNjcmV0"
    assert "s3cret" not in site.url


def test_nobody_there_is_an_error_of_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    chain = read_chain(url=f"http://127.0.0.1:{port}/")

    assert chain.site is not None
    assert (chain.site.status, chain.site.headers) == (0, {})
    assert "refused" in chain.site.error
    assert [found.what for found in chain.unreadable] == ["site"]


@pytest.mark.parametrize(
    "say",
    [
        lambda _connection: None,
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nX: "),
        lambda connection: connection.sendall(b"x"),
    ],
    ids=["silent", "headers without an end", "no http"],
)
def test_one_that_never_ends_is_given_up(say: Callable[[socket.socket], None]) -> None:
    begin = time.monotonic()
    with talking(say) as url:
        site = read_site(url, seconds=0.3)

    assert site.status == 0
    assert site.error
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://example.org/", "http://", "http://a:b/", "http://a\r\nX: y/"]
)
def test_what_is_no_url_of_a_site_is_one_line(url: str) -> None:
    with pytest.raises(NotReadError, match="is no URL of a site"):
        read_site(url)
    assert [found.what for found in read_chain(url=url).unreadable] == ["site"]
