"""``python -m stack.client``: answers as they arrive, what they come to, and an exit status."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack.client import main
from tests.helpers import Gate, wait_until


class Site:
    """A server whose paths are answered when the test lets them.

    Attributes:
        address: where it is.
        gate: what requests for ``/held`` wait at.
    """

    def __init__(self) -> None:
        self.gate = gate = Gate()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/held":
                    gate()
                self.send_response(503 if self.path == "/full" else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    yield site
    site.gate.open()
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, list[str], str]]:
    """Run the command in this process: (status, lines, errors)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_with(*arguments: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["client", *arguments])
        status = main()
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return run_with


def row(lines: list[str], name: str) -> list[str]:
    """The figures of a line of the summary."""
    return next(line.split()[1:] for line in reversed(lines) if line.startswith(name))


def test_each_answer_is_a_line_and_there_is_a_summary(run, site):
    status, lines, _ = run(f"{site.address}/", "-n", "3")
    assert status == 0
    assert all(re.fullmatch(rf" +\d+\.\d{{3}} s  200  {site.address}/", line) for line in lines[:3])
    requests, answered, first, last, in_all = row(lines, f"{site.address}/")
    assert (requests, answered) == ("3", "3")
    assert float(first) <= float(last) <= float(in_all)


def test_all_requests_are_sent_at_once(run, site):
    letting_go = threading.Thread(
        target=lambda: (wait_until(lambda: site.gate.inside == 20), site.gate.open())
    )
    letting_go.start()
    status, _, _ = run(f"{site.address}/held", "-n", "20")
    letting_go.join()
    assert status == 0
    assert site.gate.peak == 20


def test_answers_are_printed_as_they_arrive(site):
    command = [sys.executable, "-m", "stack.client", f"{site.address}/held", f"{site.address}/"]
    with subprocess.Popen([*command, "-n", "1"], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline().endswith(f"200  {site.address}/\n")
        site.gate.open()
        assert client.stdout.readline().endswith(f"200  {site.address}/held\n")
        assert row(client.stdout.read().splitlines(), "all")[:2] == ["2", "2"]
    assert client.returncode == 0


def test_several_urls_have_a_sum(run, site):
    status, lines, _ = run(f"{site.address}/", f"{site.address}/other", "-n", "2")
    assert status == 0
    assert row(lines, "all")[:2] == ["4", "4"]
    assert row(lines, f"{site.address}/other")[:2] == ["2", "2"]


def test_an_error_is_no_answer_to_count_and_the_status_says_so(run, site):
    status, lines, _ = run(f"{site.address}/full", f"{site.address}/", "-n", "2")
    assert status == 1
    assert sum("  503  " in line for line in lines) == 2
    assert row(lines, "all")[:2] == ["4", "2"]


def test_what_does_not_answer_in_time_is_a_line_like_the_others(run, site):
    status, lines, _ = run(f"{site.address}/held", "-n", "2", "--timeout", "0.2")
    assert status == 1
    assert sum("  no answer within 0.2 s  " in line for line in lines) == 2
    assert row(lines, f"{site.address}/held") == ["2", "0", "-", "-", "0.000"]


def test_where_nobody_listens_that_is_said(run):
    status, lines, err = run("http://127.0.0.1:1/", "-n", "2")
    assert status == 1
    assert sum("ConnectError" in line for line in lines) == 2
    assert err.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument 'URL...'"),
        (["127.0.0.1:8080"], "is not an address such as"),
        (["ftp://127.0.0.1/"], "is not an address such as"),
        (["http://"], "is not an address such as"),
        (["http://[::1"], "'http://[::1'"),
        (["http://127.0.0.1/", "-n", "0"], "0 is not in the range"),
        (["http://127.0.0.1/", "-n", "five"], "'five' is not a valid integer"),
        (["http://127.0.0.1/", "--timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_a_wrong_argument_is_told(run, arguments, says):
    status, lines, err = run(*arguments)
    assert status == 2
    assert lines == []
    assert says in err


def test_ctrl_c_keeps_what_has_arrived(site):
    command = [sys.executable, "-m", "stack.client", f"{site.address}/held", f"{site.address}/"]
    # not in development mode, in which asyncio tells of what a busy machine has taken long for
    environ = {**os.environ, "PYTHONDEVMODE": "", "PYTHONWARNINGS": "always"}
    with subprocess.Popen(
        [*command, "-n", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    ) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.send_signal(signal.SIGINT)
        out, err = client.communicate(timeout=30)
    assert client.returncode == 130
    assert row(out.splitlines(), "all")[:2] == ["2", "1"]
    assert err.strip() == ""
