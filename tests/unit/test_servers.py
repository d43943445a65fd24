"""What uWSGI and gunicorn tell the pool, and what they are told.

The module that uWSGI puts into its processes exists there alone: here a stand-in has its place.
"""

from __future__ import annotations

import atexit
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from commonpool import CommonPoolMiddleware, ConfigError, PoolConfig, servers
from commonpool.process import Server, configure, current_pool, set_server


def stand_in(**attributes: Any) -> ModuleType:
    module = ModuleType("uwsgi")
    vars(module).update({"opt": {}, "has_threads": 1, **attributes})
    return module


@pytest.fixture(autouse=True)
def _no_server_afterwards() -> Iterator[None]:
    yield
    set_server(Server())


def run(program: str, *, under_uwsgi: bool = True) -> str:
    """What a program prints in a process of its own, with `module` for uWSGI's."""
    uwsgi = "import sys, types; module = sys.modules['uwsgi'] = types.ModuleType('uwsgi');"
    harakiri = "module.opt = {'harakiri': b'30'};"
    ours = "from commonpool.process import current_pool;"
    before = uwsgi + harakiri if under_uwsgi else ""
    done = subprocess.run(
        [sys.executable, "-c", before + "import commonpool;" + ours + program],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout


def app(_: Any, __: Any) -> list[bytes]:
    return []


# Outside


def test_outside_uwsgi_no_server_is_detected():
    servers.detect()
    assert current_pool().request_seconds == math.inf


def test_inside_uwsgi_it_is_detected_when_commonpool_is_imported():
    assert run("print(current_pool().request_seconds)") == "27.0\n"


# harakiri


@pytest.mark.parametrize(
    ("opt", "seconds"),
    [
        ({"harakiri": b"30"}, 27.0),
        ({"harakiri": "30"}, 27.0),
        ({"harakiri": b" 30 "}, 27.0),
        ({"harakiri": [b"10", b"30"]}, 27.0),
        ({"harakiri": b"0"}, math.inf),
        ({"harakiri": b"-1"}, math.inf),
        ({}, math.inf),
    ],
)
def test_a_request_has_nine_tenths_of_harakiri(opt, seconds):
    set_server(servers.UWSGI(stand_in(opt=opt)))
    assert current_pool().request_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("deadline", "seconds"), [(5, 5), (math.inf, math.inf)])
def test_the_deadline_of_the_config_comes_before_harakiri(deadline, seconds):
    set_server(servers.UWSGI(stand_in(opt={"harakiri": b"30"})))
    configure(PoolConfig(deadline=deadline))
    assert current_pool().request_seconds == seconds


@pytest.mark.parametrize("value", [b"soon", b"", b"30s"])
def test_a_harakiri_that_is_no_number_is_an_error_that_shows_it(value):
    with pytest.raises(ConfigError, match=f"harakiri = {value!r}: must be a number of seconds"):
        servers.UWSGI(stand_in(opt={"harakiri": value})).deadline()


def test_a_wrong_harakiri_is_found_when_the_middleware_is_made():
    set_server(servers.UWSGI(stand_in(opt={"harakiri": b"soon"})))
    with pytest.raises(ConfigError, match="harakiri"):
        CommonPoolMiddleware(app)


# Threads


def test_where_threads_cannot_run_the_middleware_says_what_to_set():
    set_server(servers.UWSGI(stand_in(has_threads=0)))
    with pytest.raises(ConfigError, match="enable-threads = true"):
        CommonPoolMiddleware(app)


def test_where_threads_run_the_middleware_is_made():
    set_server(servers.UWSGI(stand_in(has_threads=1)))
    assert CommonPoolMiddleware(app).app is app


def test_a_uwsgi_that_does_not_tell_of_threads_is_believed():
    module = stand_in()
    del module.has_threads
    set_server(servers.UWSGI(module))
    assert CommonPoolMiddleware(app).app is app


# Interpreters


def test_the_first_interpreter_is_not_taken_for_a_second_one():
    assert not servers.in_second_interpreter()


def test_the_first_interpreter_is_not_taken_for_a_second_one_in_another_thread():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(servers.in_second_interpreter()))
    thread.start()
    thread.join()
    assert answers == [False]


def test_in_a_second_interpreter_the_middleware_says_what_to_set(monkeypatch):
    monkeypatch.setattr(servers, "in_second_interpreter", lambda: True)
    set_server(servers.UWSGI(stand_in()))
    with pytest.raises(ConfigError, match="single-interpreter = true"):
        CommonPoolMiddleware(app)


# Exit


def test_the_exit_of_uwsgi_closes_the_pool():
    assert run("pool = current_pool(); module.atexit(); print(pool.stats().closed)") == "True\n"


def test_without_a_pool_the_exit_of_uwsgi_is_not_touched():
    module = stand_in()
    set_server(servers.UWSGI(module))
    CommonPoolMiddleware(app)
    assert not hasattr(module, "atexit")


def test_a_hook_that_was_there_is_called_after_the_pool_was_closed():
    program = (
        "module.atexit = lambda: print(pool.stats().closed);"
        "pool = current_pool(); print(pool.stats().closed); module.atexit()"
    )
    assert run(program) == "False\nTrue\n"


def test_a_hook_that_was_there_is_called_though_closing_failed():
    seen = []
    module = stand_in(atexit=lambda: seen.append("called"))

    def failing() -> None:
        raise KeyError("close")

    servers.UWSGI(module).at_exit(failing)
    atexit.unregister(failing)  # it is for uWSGI alone
    with pytest.raises(KeyError, match="close"):
        module.atexit()
    assert seen == ["called"]


def test_the_exit_of_a_gunicorn_worker_closes_the_pool():
    pool = current_pool()
    servers.worker_exit(object(), object())
    assert pool.stats().closed


def test_a_gunicorn_worker_that_used_no_pool_exits_without_one():
    servers.worker_exit(object(), object())
    assert not current_pool().stats().closed


def test_elsewhere_the_exit_of_python_closes_the_pool():
    program = (
        "import atexit; atexit.register(lambda: print(pool.stats().closed));"  # the last to run
        "pool = current_pool(); print(pool.stats().closed)"
    )
    assert run(program, under_uwsgi=False) == "False\nTrue\n"
