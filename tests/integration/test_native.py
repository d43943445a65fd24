"""The runner itself: what it says when something is in the way, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stack.native import __main__ as commands
from stack.native.child import Child
from stack.native.errors import NativeError
from stack.native.lock import sole_user
from stack.native.mariadb import mariadb
from stack.native.ports import free_port, require_free
from stack.native.programs import find_program
from stack.native.servers import run_folder
from stack.native.waiting import wait_until as wait_for
from tests.integration.helpers import group_members, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("command", ["demo", "stack"])
def test_a_taken_port_is_one_line_that_says_what_to_do(
    taken: int, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main([command, "--port", str(taken)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"Error: port {taken} is taken by another program: stop it, or")
    assert line.endswith(f"PORT={taken + 1}")


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_one_line(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["demo", "--port", port]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert port in said.err


@pytest.mark.parametrize("program", ["nginx", "mariadbd", "postgres"])
def test_a_missing_program_is_one_line_with_its_package(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.native.programs.shutil.which", lambda *_, **__: None)
    with pytest.raises(NativeError, match=f"^{program} is not installed: install ") as caught:
        find_program(program)
    assert "\n" not in str(caught.value)


def test_a_free_port_is_free() -> None:
    require_free(free_port())


def test_two_runs_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    with (
        sole_user(tmp_path, "make demo"),
        pytest.raises(NativeError, match="another `make demo` is running"),
        sole_user(tmp_path, "make demo"),
    ):
        pass
    with sole_user(tmp_path, "make demo"):
        pass


def test_a_server_that_ends_at_start_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = Child("thing", ["sh", "-c", "echo no such luck; exit 3"], log=tmp_path / "log")
    with pytest.raises(NativeError, match=r"(?s)thing ended by itself.*no such luck"):
        child.wait_ready(lambda: False, 30)
    child.stop()


def test_databases_that_are_made_at_once_have_temporary_tables_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_folder() as folder, run_folder() as run:
        # where all would have theirs: each server that starts removes what is there
        monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
        with mariadb(folder, run) as database:
            assert database.child.running


def test_a_server_that_never_gets_ready_is_an_error_after_the_limit(tmp_path: Path) -> None:
    child = Child("thing", ["sleep", "100"], log=tmp_path / "log")
    with pytest.raises(NativeError, match=r"thing was not ready after 0\.1 s"):
        child.wait_ready(lambda: False, 0.1)
    child.stop()
    assert not child.running()


def test_a_server_that_ignores_the_order_to_end_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 100 & echo ready; while true; do sleep 100; done"
    child = Child("thing", ["sh", "-c", script], log=tmp_path / "log")
    child.wait_ready(lambda: "ready" in child.log.read_text(), 30)
    assert len(group_members(child.pid)) >= 2
    child.stop(grace=0.1)
    wait_until(lambda: group_members(child.pid) == [], what="the end of its children")
    child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's")
def test_a_server_ends_when_the_one_who_started_it_is_killed(tmp_path: Path) -> None:
    source = f"""
from contextlib import contextmanager
from pathlib import Path
from stack.native.child import Child
child = Child("thing", ["sleep", "100"], log=Path({str(tmp_path / "log")!r}))
print(child.pid, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", what="the tie")
        starter.kill()
    wait_until(lambda: group_members(pid) == [], what="its end")


def test_waiting_ends_with_an_error_that_says_what_for() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(TimeoutError, match="waited 5 s for the moon; the last answer was 0"):
        wait_for(lambda: 0, 5, what="the moon", clock=lambda: now[0], sleep=sleep)
    assert now[0] == pytest.approx(5)


@contextmanager
def demo_running(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The demo; what it prints is in `output`, in the folder."""
    # A database without tables: the page says so, and the server is up nevertheless.
    output = folder / "output"
    with output.open("w") as file:
        demo = subprocess.Popen(
            [sys.executable, "-c", DEMO, str(folder), str(port)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": f"sqlite:///{folder / 'none.db'}"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield demo
        finally:
            demo.kill()
            demo.wait()
    assert "Traceback" not in output.read_text()
    require_free(port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_is_up_and_ends_cleanly_on_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with demo_running(tmp_path, free_port()) as demo:
        wait_until(lambda: "Ctrl-C ends it" in output.read_text(), 60, what="the demo")
        demo.send_signal(number)  # the second process may be loading the application still
        assert demo.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_soon_on_a_signal_while_it_starts(
    number: signal.Signals, tmp_path: Path
) -> None:
    log = tmp_path / "uwsgi.log"
    with demo_running(tmp_path, free_port()) as demo:
        wait_until(
            lambda: log.exists() and "spawned uWSGI worker" in log.read_text(), what="a process"
        )
        demo.send_signal(number)
        demo.wait(20)  # not worker-reload-mercy, which is 45


DEMO = """
import sys
from contextlib import contextmanager
from pathlib import Path
from stack.native import __main__ as commands
commands.DEMO = Path(sys.argv[1])
commands.load = lambda url: None
sys.exit(commands.main(["demo", "--port", sys.argv[2]]))
"""
