"""All that nginx lets in fits into uWSGI, and what does not is refused by nginx."""

from __future__ import annotations

import os
import re
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from stack.native.nginx import CONFIG
from stack.native.servers import run_folder
from stack.native.uwsgi import uwsgi

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


pytestmark = pytest.mark.usefixtures("_programs")

PACKET = 65_535  # bytes: the length has two of them
SHORTEST = len("a:\r\n"), 2 + len("HTTP_A") + 2  # a header, and the same in the protocol
OWN = 1_536  # bytes at most, for nginx's own variables

ACCEPTS = {"json": "application/json", "page": "text/html,application/json;q=0.9,*/*;q=0.8"}


def buffers() -> tuple[int, int, int]:
    """How many bytes the first buffer of nginx has, how many others there are, and their bytes."""
    text = (CONFIG / "snippets" / "sizes.conf").read_text()
    (first,) = re.findall(r"^client_header_buffer_size (\d+)k;", text, re.MULTILINE)
    ((count, size),) = re.findall(r"^large_client_header_buffers (\d+) (\d+)k;", text, re.MULTILINE)
    return int(first) * 1024, int(count), int(size) * 1024


def test_the_largest_request_is_one_packet() -> None:
    first, count, size = buffers()
    lines = first + count * size
    on_the_wire, in_the_packet = SHORTEST
    headers = (lines - size) * in_the_packet // on_the_wire
    assert 3 * size + headers + OWN < PACKET
    said = (CONFIG / "snippets" / "sizes.conf").read_text()
    assert f"{lines:,} bytes" in said
    assert f"{3 * size + headers + OWN:,}  <  65,535" in said


def variable(name: bytes, value: bytes) -> bytes:
    return struct.pack("<H", len(name)) + name + struct.pack("<H", len(value)) + value


def ask(path: Path, packet: bytes) -> bytes:
    """The beginning of what uWSGI answers a packet of its protocol."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(struct.pack("<BHB", 0, len(packet), 0) + packet)
        return connection.recv(15)


def test_uwsgi_takes_the_largest_packet_with_as_many_variables_as_it_can_have(
    tmp_path: Path,
) -> None:
    packet = b"".join(
        variable(name, value)
        for name, value in {
            b"REQUEST_METHOD": b"GET",
            b"REQUEST_URI": b"/",
            b"PATH_INFO": b"/",
            b"QUERY_STRING": b"",
            b"SERVER_PROTOCOL": b"HTTP/1.1",
            b"SERVER_NAME": b"_",
            b"SERVER_PORT": b"80",
            b"HTTP_HOST": b"x",
        }.items()
    )
    shortest = variable(b"HTTP_A", b"")
    packet += shortest * ((PACKET - len(packet)) // len(shortest))
    assert len(packet) > PACKET - len(shortest)
    environ = {**os.environ, "STACK_APPLICATION": "tests.integration.fan_out_app:application"}
    with run_folder() as run, uwsgi(tmp_path / "uwsgi.log", environ, run=run) as server:
        assert ask(server.socket, packet) == b"HTTP/1.1 200 OK"


def test_nginx_adds_no_more_variables_of_its_own_than_the_sum_has() -> None:
    text = (CONFIG / "snippets" / "uwsgi_params.conf").read_text()
    names = re.findall(r"^uwsgi_param (\w+)", text, re.MULTILINE)
    assert len(names) > 20
    # What comes from neither the request line nor a header is short; the longest is the id, of 64.
    assert sum(len(name) + 4 for name in names) + 64 + 10 * 45 < OWN


def test_long_headers_reach_the_application(client: httpx.Client) -> None:
    headers = {f"X-Long-{number}": "x" * 7_000 for number in range(3)}
    assert client.get("/healthz", headers=headers).status_code == 200


def test_many_headers_reach_the_application(client: httpx.Client) -> None:
    headers = {f"X-{number}": "x" for number in range(900)}
    assert client.get("/healthz", headers=headers).status_code == 200


def test_a_body_that_nobody_reads_does_not_break_the_answer(client: httpx.Client) -> None:
    assert client.post("/", content=b"x" * 60_000).status_code == 405


@pytest.mark.parametrize("wants", ["json", "page"])
def test_what_is_too_large_is_refused_by_nginx(client: httpx.Client, wants: str) -> None:
    accept = {"Accept": ACCEPTS[wants]}
    large = {f"X-Long-{number}": "x" * 7_000 for number in range(4)}
    answers = {
        413: client.post("/", content=b"x" * 70_000, headers=accept),
        431: client.get("/", headers={**accept, **large}),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert "retry-after" not in answer.headers  # it will not be better later
        if wants == "json":
            assert answer.json()["status"] == status
        else:
            assert f'<p class="sign">{status}</p>' in answer.text


def test_an_address_that_is_too_long_is_refused_by_nginx(client: httpx.Client) -> None:
    answer = client.get("/" + "x" * 8_000)  # it is not read on: nobody knows what is accepted
    assert answer.status_code == 414
    assert '<p class="sign">414</p>' in answer.text
