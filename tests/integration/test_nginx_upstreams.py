"""uWSGI several times, of which one fails: what is asked again, and what nginx says itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from stack.native.nginx import CONFIG
from stack.native.uwsgi import INI
from tests.integration.echo import echo_site, folder_of, reload
from tests.integration.helpers import access_log, new_client, wait_until
from tests.integration.upstreams import Failing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stack.native.servers import Site

pytestmark = pytest.mark.usefixtures("_programs")

TIMES = 12  # requests; they go to the two servers in turn


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with echo_site(tmp_path) as running:
        yield running


def also_at(site: Site, path: Path) -> None:
    """Have nginx use a second server, too, however often it fails."""
    servers = [f"server unix:{one} max_fails=0;\n" for one in (site.uwsgi.socket, path)]
    (folder_of(site.nginx) / "conf.d" / "app_servers.inc").write_text("".join(servers))
    reload(site.nginx)


def asked(site: Site, least: int) -> int:
    """How many requests uWSGI has got. It counts them when they have been answered."""

    def count() -> int:
        return sum(worker["requests"] for worker in site.uwsgi.stats()["workers"])

    wait_until(lambda: count() >= least, what="uWSGI's count")
    return count()


def lines(site: Site, count: int) -> list[dict[str, object]]:
    """The lines of nginx's log, when there are so many of them."""
    wait_until(lambda: len(access_log(site.nginx.access_log)) == count, what="nginx's log")
    return access_log(site.nginx.access_log)


def test_what_could_not_be_sent_to_one_server_is_answered_by_the_other(site: Site) -> None:
    dead = site.uwsgi.socket.with_name("dead.sock")
    also_at(site, dead)
    with new_client(site.nginx.url) as client:
        for _ in range(TIMES):
            assert client.get("/echo").status_code == 200
            assert client.post("/echo", content=b"x").status_code == 200
    assert asked(site, 2 * TIMES) == 2 * TIMES
    again = [line for line in lines(site, 2 * TIMES) if str(dead) in str(line["upstream"])]
    assert again
    for line in again:
        assert line["upstream"] == f"unix:{dead}, unix:{site.uwsgi.socket}"
        assert line["upstream_status"] == [502, 200]
        first, second = line["upstream_connect"]
        assert first is None
        assert second >= 0


def test_a_request_that_was_read_is_asked_again_only_where_that_does_no_harm(site: Site) -> None:
    with Failing(path := site.uwsgi.socket.with_name("closes.sock"), closes=True) as failing:
        also_at(site, path)
        with new_client(site.nginx.url) as client:
            for _ in range(TIMES):
                assert client.get("/echo").status_code == 200
            assert failing.methods["GET"] > 0
            assert asked(site, TIMES) == TIMES
            answers = [client.post("/echo", content=b"x" * 1000) for _ in range(TIMES)]
    failed = failing.methods["POST"]
    assert 0 < failed < TIMES
    assert [answer.status_code for answer in answers].count(502) == failed
    each_once = TIMES + TIMES - failed
    assert asked(site, each_once) == each_once


def test_a_request_that_was_worked_on_until_it_timed_out_is_not_asked_again(site: Site) -> None:
    shorten(site)
    with Failing(path := site.uwsgi.socket.with_name("silent.sock"), closes=False) as failing:
        also_at(site, path)
        accept = {"Accept": "application/json"}
        with new_client(site.nginx.url) as client:
            answers = [client.get("/echo", headers=accept) for _ in range(4)]
        late = [answer for answer in answers if answer.status_code != 200]
        assert len(late) == failing.methods["GET"] > 0
    assert asked(site, 4 - len(late)) == 4 - len(late)
    for answer in late:
        assert answer.status_code == 504
        assert answer.json()["status"] == 504
        assert answer.headers.get_list("retry-after") == ["5"]


def seconds(name: str, file: str) -> float:
    text = (CONFIG / "snippets" / file).read_text()
    (found,) = re.findall(rf"^{name} (\d+)s;", text, re.MULTILINE)
    return float(found)


def shorten(site: Site) -> None:
    """A tenth of what nginx waits, in the same order."""
    for file in "timeouts.conf", "upstream.conf":
        path = folder_of(site.nginx) / "snippets" / file
        text = re.sub(r"^(uwsgi_\w+ \d+)s;", r"\g<1>00ms;", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)


def test_what_was_killed_has_time_for_another_server_and_what_has_hung_one_has_not() -> None:
    ini = INI.read_text()
    (harakiri,) = (float(found) for found in re.findall(r"^harakiri = (\d+)$", ini, re.MULTILINE))
    connect = seconds("uwsgi_connect_timeout", "timeouts.conf")
    read = seconds("uwsgi_read_timeout", "timeouts.conf")
    another = seconds("uwsgi_next_upstream_timeout", "upstream.conf")
    assert connect < 0.9 * harakiri < another < harakiri < read


JSON = {
    "/api/dashboard": {},
    "/sleep/python": {"Accept": "text/html"},
    "/healthz": {},
    "/": {"Accept": "application/json"},
    "/none": {"Accept": "application/json, */*;q=0.1"},
}
PAGES = {
    "/": {},
    "/none": {"Accept": "text/html,application/xhtml+xml,application/json;q=0.9"},
    "/echo": {"Accept": "*/*"},
}


def test_without_an_application_nginx_says_so_in_the_language_of_the_client(site: Site) -> None:
    site.uwsgi.stop()
    with new_client(site.nginx.url) as client:
        for path, headers in JSON.items():
            answer = client.get(path, headers=headers)
            assert_unavailable(answer)
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["status"] == 502
            assert set(answer.json()) == {"status", "error", "message"}
        for path, headers in PAGES.items():
            answer = client.get(path, headers=headers)
            assert_unavailable(answer)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert '<p class="sign">502</p>' in answer.text
        assert_unavailable(client.post("/echo", content=b"x"))
        (line,) = wait_until(lambda: posts(site), what="nginx's log")
        assert (line["path"], line["status"]) == ("/echo", 502)
        assert client.get("/static/style.css").status_code == 200


def posts(site: Site) -> list[dict[str, object]]:
    return [line for line in access_log(site.nginx.access_log) if line["method"] == "POST"]


def assert_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 502
    assert answer.headers.get_list("retry-after") == ["5"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize("status", [413, 429, 502, 503, 504])
def test_what_the_application_says_of_an_error_arrives_as_it_is(site: Site, status: int) -> None:
    with new_client(site.nginx.url) as client:
        answer = client.get(f"/own/{status}", headers={"Accept": "application/json"})
    assert answer.status_code == status
    assert answer.text == "the application's own"
    assert answer.headers.get_list("retry-after") == ["77"]


@pytest.mark.parametrize("path", ["/error/json", "/error/html", "/error/"])
def test_the_pages_for_errors_cannot_be_asked_for(site: Site, path: str) -> None:
    with new_client(site.nginx.url) as client:
        answer = client.get(path)
    assert answer.status_code == 404
    assert "retry-after" not in answer.headers
