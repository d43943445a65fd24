"""What nginx adds: ids, files, silence about versions."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from stack.native import nginx
from stack.native.errors import NativeError
from tests.integration.echo import echo_site
from tests.integration.helpers import access_log, new_client, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from stack.native.servers import Site

pytestmark = pytest.mark.usefixtures("_programs")


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    command = nginx.prepare(tmp_path, port=8080, uwsgi_socket=tmp_path / "uwsgi.sock")
    said = nginx.check(command)
    assert "syntax is ok" in said
    assert "warn" not in said


def test_an_invalid_configuration_is_refused_with_the_words_of_nginx(tmp_path: Path) -> None:
    command = nginx.prepare(tmp_path, port=8080, uwsgi_socket=tmp_path / "uwsgi.sock")
    with (tmp_path / "nginx" / "nginx.conf").open("a") as file:
        file.write("nonsense on;\n")
    with pytest.raises(NativeError, match='unknown directive "nonsense"'):
        nginx.check(command)


def test_a_request_without_an_id_gets_one(client: httpx.Client) -> None:
    first = client.get("/healthz").headers.get_list("x-request-id")
    second = client.get("/healthz").headers.get_list("x-request-id")
    assert len(first) == len(second) == 1
    assert re.fullmatch("[0-9a-f]{32}", first[0])
    assert first != second


def test_an_id_that_came_in_goes_through_all_layers(client: httpx.Client, site: Site) -> None:
    given = "from-the-outside-1"
    answer = client.get("/sleep/python?seconds=0", headers={"X-Request-ID": given})
    assert answer.headers.get_list("x-request-id") == [given]
    wait_until(lambda: f"id={given}" in site.uwsgi.child.log.read_text(), what="uWSGI's log")
    wait_until(lambda: given in site.nginx.access_log.read_text(), what="nginx's log")


@pytest.mark.parametrize("given", ["short", "x" * 65, "with space", 'quote"and-more', "semi;colon"])
def test_an_id_that_would_spoil_a_log_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_files_are_served_without_uwsgi_and_may_be_kept(client: httpx.Client, site: Site) -> None:
    before = sum(worker["requests"] for worker in site.uwsgi.stats()["workers"])
    answer = client.get("/static/style.css")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == "max-age=3600"
    assert answer.headers["x-request-id"]
    again = client.get("/static/style.css", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert sum(worker["requests"] for worker in site.uwsgi.stats()["workers"]) == before


def test_nothing_outside_the_folder_of_files_is_served(client: httpx.Client) -> None:
    assert client.get("/static/../settings.py").status_code == 404
    assert client.get("/static/%2e%2e/settings.py").status_code == 404
    assert client.get("/static../settings.py").status_code == 404


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/static/none", "/none"])
def test_no_version_is_shown(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers.get_list("server") == ["nginx"]
    assert not re.search(r"(nginx|uwsgi|werkzeug|python)/\d", answer.text, re.IGNORECASE)


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/static/none", "/none"])
def test_each_protecting_header_is_there_once(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("x-frame-options") == ["DENY"]
    assert headers.get_list("referrer-policy") == ["no-referrer"]


def test_pages_and_json_are_compressed(client: httpx.Client) -> None:
    assert client.get("/").headers["content-encoding"] == "gzip"
    assert client.get("/api/dashboard").headers["content-encoding"] == "gzip"


def test_the_log_is_json_and_says_where_the_time_went(client: httpx.Client, site: Site) -> None:
    given = "for-the-log-1"
    agent = 'an "agent" \\ with\ttabs'
    headers = {"X-Request-ID": given, "User-Agent": agent, "Referer": "http://elsewhere/"}
    answer = client.get("/sleep/python?seconds=0.1", headers=headers)
    wait_until(lambda: given in site.nginx.access_log.read_text(), what="nginx's log")
    (line,) = (line for line in access_log(site.nginx.access_log) if line["id"] == given)
    assert datetime.fromisoformat(line.pop("time"))
    seconds, connect = line.pop("seconds"), line.pop("upstream_connect")
    header, response = line.pop("upstream_header"), line.pop("upstream_response")
    assert all(len(times) == 1 for times in (connect, header, response))
    assert 0 <= connect[0] <= header[0] <= response[0] <= seconds + 0.002  # each is rounded
    assert header[0] >= 0.09
    assert line == {
        "id": given,
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/sleep/python?seconds=0.1",
        "protocol": "HTTP/1.1",
        "tls": "",
        "status": 200,
        "bytes": int(answer.headers["content-length"]),
        "limit_req": "",
        "limit_conn": "PASSED",
        "upstream": f"unix:{site.uwsgi.socket}",
        "upstream_status": [200],
        "referrer": "http://elsewhere/",
        "agent": agent,
    }


def test_the_answer_tells_how_long_the_request_waited_for_a_thread(client: httpx.Client) -> None:
    for said in "t=1", "t=99999999999", "nonsense":
        timing = client.get("/healthz", headers={"X-Request-Start": said}).headers["server-timing"]
        found = re.fullmatch(r"queue;dur=([\d.]+)", timing)
        assert found
        assert 0 <= float(found[1]) < 10_000


def test_lines_of_tasks_carry_the_id_of_their_request(tmp_path: Path) -> None:
    given = "goes-to-the-tasks"
    with echo_site(tmp_path) as site, new_client(site.nginx.url) as client:
        names = client.get("/in-tasks", headers={"X-Request-ID": given}).json()
        log = site.uwsgi.child.log
        wait_until(lambda: log.read_text().count("a task on") == 2, what="the application's log")
        lines = [line for line in log.read_text().splitlines() if "a task on" in line]
    assert any(name.startswith("commonpool") for name in names)
    for name in names:
        (line,) = (line for line in lines if line.endswith(f"a task on {name}"))
        assert f"[{given}]" in line
