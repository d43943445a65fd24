"""Who a client is for nginx and the application, and how much one may ask for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.echo import client_at, echo_site, folder_of, reload
from tests.integration.helpers import access_log, wait_until
from tests.integration.upstreams import Failing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stack.native.servers import Site

pytestmark = pytest.mark.usefixtures("_programs")

HERE, STRANGER, PROXY, OTHER = (f"127.0.0.{number}" for number in range(1, 5))

FORWARDED = {
    "Forwarded": "for=1.2.3.4;proto=https;host=evil.example",
    "X-Forwarded-For": "1.2.3.4",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Scheme": "https",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Ssl": "on",
    "X-Real-Ip": "1.2.3.4",
    "X-Script-Name": "/evil",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With a proxy that is trusted, and without limits for this machine's first address."""
    settings = {"TRUSTED_PROXIES": f"set_real_ip_from {PROXY};"}
    with echo_site(tmp_path_factory.mktemp("clients"), settings=settings) as running:
        yield running


def echo(site: Site, address: str, headers: dict[str, str]) -> dict[str, Any]:
    with client_at(address, site.nginx.url) as client:
        answer = client.get("/echo", headers=headers)
        assert answer.status_code == 200
        return answer.json()


@pytest.mark.parametrize("separator", ["-", "_"])
def test_what_a_client_says_of_itself_reaches_nobody(site: Site, separator: str) -> None:
    said = {name.replace("-", separator): value for name, value in FORWARDED.items()}
    if separator == "_":
        del said["Forwarded"]
    seen = echo(site, STRANGER, said)
    assert seen["address"] == STRANGER
    assert seen["scheme"] == "http"
    assert seen["page"] == f"{site.nginx.url}/"
    assert not {*FORWARDED} & {*seen["headers"]}


def test_what_a_trusted_proxy_says_is_believed_and_passed_on_as_no_header(site: Site) -> None:
    seen = echo(site, PROXY, FORWARDED)
    assert seen["address"] == "1.2.3.4"
    assert seen["scheme"] == "https"
    assert seen["page"] == site.nginx.url.replace("http:", "https:") + "/"
    assert not {*FORWARDED} & {*seen["headers"]}
    wait_until(
        lambda: any(line["client"] == "1.2.3.4" for line in access_log(site.nginx.access_log)),
        what="the line of nginx's log",
    )


@pytest.mark.parametrize("scheme", ["", "ftp", "https, http", "https\tx"])
def test_a_scheme_that_is_none_is_not_believed_of_a_trusted_proxy(site: Site, scheme: str) -> None:
    headers = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": scheme}
    assert echo(site, PROXY, headers)["scheme"] == "http"


def test_what_the_client_of_a_proxy_has_written_before_it_does_not_count(site: Site) -> None:
    chain = f"6.6.6.6, 1.2.3.4, {PROXY}"
    assert echo(site, PROXY, {"X-Forwarded-For": chain})["address"] == "1.2.3.4"


def test_a_proxy_that_says_nothing_is_a_client_itself(site: Site) -> None:
    seen = echo(site, PROXY, {"X-Forwarded-Proto": "https"})
    assert (seen["address"], seen["scheme"]) == (PROXY, "http")


# Limits


def assert_too_many(answer: httpx.Response, kind: str) -> None:
    assert answer.status_code == 429
    assert answer.headers.get_list("retry-after") == ["5"]
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.headers["content-type"].split(";")[0] == kind
    if kind == "application/json":
        assert answer.json()["status"] == 429
        assert set(answer.json()) == {"status", "error", "message"}
    else:
        assert '<p class="sign">429</p>' in answer.text


def test_a_client_that_asks_too_often_is_told_so_and_the_others_are_not(tmp_path: Path) -> None:
    settings = {"CLIENT_RATE": "1r/m", "CLIENT_BURST": "2"}
    with echo_site(tmp_path, settings=settings) as site, ExitStack() as stack:
        here, stranger, other = (
            stack.enter_context(client_at(address, site.nginx.url))
            for address in (HERE, STRANGER, OTHER)
        )
        for _ in range(3):
            assert stranger.get("/echo").status_code == 200
        assert_too_many(stranger.get("/echo"), "text/html")
        assert_too_many(
            stranger.get("/echo", headers={"Accept": "application/json"}), "application/json"
        )
        assert_too_many(stranger.get("/api/dashboard"), "application/json")
        assert_too_many(stranger.post("/echo", content=b"x"), "text/html")
        assert stranger.get("/static/style.css").status_code == 200
        assert stranger.get("/healthz").status_code == 200
        assert other.get("/echo").status_code == 200
        assert {here.get("/echo").status_code for _ in range(20)} == {200}
        wait_until(lambda: len(refused(site, "limit_req")) == 4, what="the lines of nginx's log")


def refused(site: Site, limit: str) -> list[dict[str, Any]]:
    """The lines of requests that a limit of nginx has refused."""
    lines = access_log(site.nginx.access_log)
    return [line for line in lines if line[limit] == "REJECTED" and not line["upstream"]]


@contextmanager
def held_requests(site: Site, *, limit: int) -> Iterator[Failing]:
    """A server in the place of uWSGI that holds each request until the block ends: then 502.

    Args:
        site: whose nginx it is.
        limit: of requests, for all clients together.
    """
    folder = folder_of(site.nginx) / "conf.d"
    with Failing(path := site.uwsgi.socket.with_name("holds.sock"), closes=False) as holding:
        (folder / "app_servers.inc").write_text(f"server unix:{path} fail_timeout=0;\n")
        (folder / "app_limit.inc").write_text(f"limit_conn upstream {limit};\n")
        reload(site.nginx)
        yield holding


def test_a_client_with_too_many_requests_at_a_time_gets_429_and_all_together_503(
    tmp_path: Path,
) -> None:
    with (
        echo_site(tmp_path, settings={"CLIENT_CONNECTIONS": "2"}) as site,
        client_at(HERE, site.nginx.url) as here,
        client_at(STRANGER, site.nginx.url) as stranger,
        client_at(OTHER, site.nginx.url) as other,
        ThreadPoolExecutor(4) as threads,
    ):
        with held_requests(site, limit=3) as holding:
            waiting = [threads.submit(stranger.get, "/echo") for _ in range(2)]
            wait_until(lambda: holding.methods["GET"] == 2, what="the requests of one client")
            assert_too_many(stranger.get("/echo"), "text/html")
            assert_too_many(stranger.get("/api/dashboard"), "application/json")
            waiting.append(threads.submit(other.get, "/echo"))
            wait_until(lambda: holding.methods["GET"] == 3, what="the request of another")
            for client in here, stranger, other:
                answer = client.get("/echo")
                assert answer.status_code == 503
                assert answer.headers.get_list("retry-after") == ["5"]
                assert "<h1>Too busy</h1>" in answer.text
            assert client.get("/static/style.css").status_code == 200
        assert {one.result().status_code for one in waiting} == {502}
        assert holding.methods["GET"] == 3
        wait_until(lambda: len(refused(site, "limit_conn")) == 5, what="nginx's log")
        statuses = [line["status"] for line in refused(site, "limit_conn")]
        assert sorted(statuses) == [429, 429, 503, 503, 503]


def test_a_client_from_here_has_no_limit_of_its_own(tmp_path: Path) -> None:
    settings = {"CLIENT_CONNECTIONS": "1", "CLIENT_RATE": "1r/m", "CLIENT_BURST": "1"}
    with (
        echo_site(tmp_path, settings=settings) as site,
        client_at(HERE, site.nginx.url) as here,
        ThreadPoolExecutor(8) as threads,
    ):
        with held_requests(site, limit=8) as holding:
            waiting = [threads.submit(here.get, "/echo") for _ in range(8)]
            wait_until(lambda: holding.methods["GET"] == 8, what="the requests")
        assert {one.result().status_code for one in waiting} == {502}
