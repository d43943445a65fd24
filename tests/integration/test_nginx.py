"""What nginx adds: ids, files, silence about versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from stack.native import nginx
from stack.native.errors import NativeError
from tests.integration.helpers import wait_until

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


def test_a_body_that_nobody_reads_does_not_break_the_answer(client: httpx.Client) -> None:
    assert client.post("/", content=b"x" * 60_000).status_code == 405
    assert client.post("/", content=b"x" * 70_000).status_code == 413


def test_long_headers_reach_the_application(client: httpx.Client) -> None:
    headers = {f"X-Long-{number}": "x" * 7_000 for number in range(3)}
    assert client.get("/healthz", headers=headers).status_code == 200
