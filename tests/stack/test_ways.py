"""Each way of waiting is timed beside the others, with what it is for: how much runs at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from stack.native.errors import NativeError
from stack.ways import NAMES, Timing, serving
from stack.ways.__main__ import main
from tests.helpers import wait_until

pytestmark = pytest.mark.usefixtures("coroutines")

SCALES = (0.02, 0.1, 0.5)  # a machine that is too busy for the first is given more time

SERVED_LIMIT = 180  # seconds for a test with servers in processes of their own, on all scales

THREADS_AT_WORK = 4  # of the program: more than it has before clients ask

needs_flask_executor = pytest.mark.skipif(
    find_spec("flask_executor") is None, reason="Flask-Executor is not installed"
)
needs_quart = pytest.mark.skipif(
    find_spec("quart") is None or find_spec("uvicorn") is None,
    reason="Quart or uvicorn is not installed",
)


def timings_of(
    name: str, holds: Callable[[dict[str, Timing]], bool] = lambda _: True
) -> dict[str, Timing]:
    """What a module measures, by the names of the ways; on a larger scale until something holds."""
    for scale in SCALES:
        timings = {
            timing.way: timing for timing in import_module(f"stack.ways.{name}").measure(scale)
        }
        if holds(timings):
            break
    return timings


def at_once(timings: dict[str, Timing], *ways: str) -> list[int | None]:
    return [timings[way].at_once for way in ways]


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, list[str], str]]:
    """Run the command in this process: (status, lines, errors)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_with(*arguments: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["ways", *arguments])
        status = main()
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return run_with


def test_queries_run_at_once_but_in_the_sequential_view():
    ways = ("one after another", "commonpool.ext.flask_executor", "run_in_parallel")
    timings = timings_of("queries", lambda timings: at_once(timings, *ways) == [1, 3, 3])
    assert at_once(timings, *ways) == [1, 3, 3]


@needs_flask_executor
def test_flask_executor_runs_queries_at_once():
    timings = timings_of("queries", lambda timings: timings["Flask-Executor"].at_once == 3)
    assert timings["Flask-Executor"].at_once == 3


def test_a_way_that_gives_other_rows_is_an_error(monkeypatch):
    monkeypatch.setattr("stack.ways.queries.rows", lambda _: ["nothing"])
    with pytest.raises(ValueError, match="one after another gave"):
        timings_of("queries")


def test_of_two_clients_one_waits_for_the_other_where_there_are_four_threads():
    few = "a global ThreadPoolExecutor of 4"
    ways = (
        few,
        "a global ThreadPoolExecutor of 32",
        "asyncio.run in the view, to_thread",
        "run_in_parallel, max_workers=32",
    )
    timings = timings_of("two_clients", lambda timings: at_once(timings, *ways) == [4, 8, 8, 8])
    assert at_once(timings, *ways) == [4, 8, 8, 8]
    first, second = timings[few].seconds
    assert first <= second


@pytest.mark.timeout(SERVED_LIMIT)
def test_a_driver_in_c_holds_up_greenlets_but_with_commonpool_none():
    blocking, greenlets, cooperative, ours = (
        "gunicorn sync, mysqlclient",
        "gunicorn gevent, mysqlclient",
        "gunicorn gevent, PyMySQL",
        "gunicorn gevent, mysqlclient, commonpool",
    )

    def as_they_say(timings: dict[str, Timing]) -> bool:
        """Five one after another take five times as long as five at once."""
        if not all(timing.seconds for timing in timings.values()):
            return False
        one_by_one = timings[blocking].seconds[0] * 0.6
        return (
            max(*timings[ours].seconds[:2], *timings[cooperative].seconds[:2]) < one_by_one
            and timings[greenlets].seconds[0] < one_by_one < timings[greenlets].seconds[1]
        )

    timings = timings_of("sleeps", as_they_say)
    assert as_they_say(timings), timings


@pytest.mark.timeout(SERVED_LIMIT)
def test_a_hundred_requests_come_in_sets_of_as_many_as_there_are_connections():
    few, enough = (
        "gunicorn gevent, PyMySQL, 5 + 10 connections",
        "uWSGI, commonpool, 2 x 50 threads and connections",
    )
    timings = timings_of("hundred", lambda timings: at_once(timings, few, enough) == [15, 100])
    assert at_once(timings, few, enough) == [15, 100]


def test_without_mariadb_that_is_told(monkeypatch):
    monkeypatch.setattr("stack.ways.sleepers.mariadb", missing)
    for name in ("sleeps", "hundred"):
        notes = {timing.note for timing in timings_of(name).values()}
        assert notes == {"mariadbd is not installed"}


def missing(*_: object) -> None:
    raise NativeError("mariadbd is not installed\nand more")


def test_a_client_of_the_process_keeps_its_connections_and_one_of_a_request_does_not():
    each = "asyncio.run in the view, an AsyncClient in it"
    ways = ("one after another, one Client", each, "run_in_parallel, one AsyncClient")
    timings = timings_of("apis", lambda timings: at_once(timings, *ways) == [1, 2, 2])
    assert at_once(timings, *ways) == [1, 2, 2]
    one, many, ours = (timings[way].connections or 0 for way in ways)
    assert many >= 2 * 21
    assert 0 < one < 21
    assert 0 < ours < 21


@needs_quart
def test_quart_keeps_its_connections():
    way = "Quart under uvicorn, one AsyncClient"
    timings = timings_of("apis", lambda timings: timings[way].at_once == 2)
    assert timings[way].at_once == 2
    assert 0 < (timings[way].connections or 0) < 21


@pytest.mark.filterwarnings(  # of Python 3.12 and later
    "ignore:.*multi-threaded.*fork:DeprecationWarning"
)
def test_what_computes_is_computed_by_other_processes_where_that_is_asked_for():
    timings = timings_of("computing")
    notes = [timing.note for timing in timings.values()]
    assert notes[:2] == ["", ""]
    assert 1 <= int(notes[2].removeprefix("other processes: ")) <= 4


def test_there_is_a_table_for_each_way_asked_for(run):
    status, lines, err = run("two_clients", "queries", "two_clients", "--scale", "0.02")
    assert (status, err) == (0, "")
    assert [line.strip() for line in lines if ", times 0.02" in line] == [
        "Three queries of 1 s in a view, times 0.02",
        "Four tasks of 5 s in a view, two clients at once, times 0.02",
    ]
    assert sum(line.startswith("run_in_parallel") for line in lines) == 2


def test_what_is_not_installed_is_told(run, monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda _: None)
    status, lines, _ = run("queries", "apis", "--scale", "0.02")
    assert status == 0
    assert any("not installed: flask_executor" in line for line in lines)
    assert any("not installed: quart, uvicorn" in line for line in lines)


def test_the_help_names_the_ways(run):
    status, lines, _ = run("--help")
    assert status == 0
    assert ", ".join(NAMES) in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gevent"], ", ".join(repr(name) for name in NAMES)),
        (["queries", "--scale", "0"], "0.0 is not in the range"),
        (["queries", "--scale", "fast"], "'fast' is not a valid float"),
    ],
)
def test_a_wrong_argument_is_told(run, arguments, says):
    status, lines, err = run(*arguments)
    assert status == 2
    assert lines == []
    assert says in err


def test_ctrl_c_ends_it_without_a_word():
    command = [sys.executable, "-m", "stack.ways", "two_clients", "--scale", "100"]
    environ = {**os.environ, "COMMONPOOL_MAX_WORKERS": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as ways:
        threads = Path(f"/proc/{ways.pid}/task")
        wait_until(lambda: len([*threads.iterdir()]) > THREADS_AT_WORK, limit=30)
        ways.send_signal(signal.SIGINT)
        out, err = ways.communicate(timeout=30)
    assert (ways.returncode, out, err.strip()) == (130, "", "")
