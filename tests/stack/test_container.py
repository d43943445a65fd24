"""What the application's container runs, outside of one."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commonpool import PoolConfig
from stack.app.settings import Settings, SettingsError
from stack.container import health, passwords
from stack.container.examination import ExaminationError, examine_start
from stack.container.sizes import Sizes, check
from stack.data.errors import DatabaseURLError
from stack.data.urls import parse_database_url, with_password

URL = "mysql+pymysql://flights@db.invalid/flights"


def test_a_password_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss:w/ord\n")

    settings = Settings.from_mapping({"DATABASE_URL": URL, "DATABASE_PASSWORD_FILE": str(file)})

    assert settings.database_url.password == "p@ss:w/ord"
    assert "p@ss" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "content", "says"),
    [
        (URL, None, "cannot be read: No such file or directory"),
        (URL, b"", "is empty"),
        (URL, b"\n", "is empty"),
        (URL, b"\xff\xfe", "cannot be read: it is not text"),
        ("mysql+pymysql://flights:other@db/flights", b"secret", "keep one"),
        ("sqlite:////tmp/flights.db", b"secret", "a SQLite file has no password"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, url: str, content: bytes | None, says: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(DatabaseURLError, match=says) as caught:
        with_password(parse_database_url(url), str(file))

    assert "secret" not in str(caught.value)
    assert "other" not in str(caught.value).replace("another", "")
    assert "\n" not in str(caught.value)


def test_passwords_are_made_once_each_its_own_and_whole(tmp_path: Path) -> None:
    files = [tmp_path / "first", tmp_path / "second"]

    assert passwords.main([str(file) for file in files]) == 0
    made = [file.read_text() for file in files]
    assert passwords.main([str(file) for file in files]) == 0

    assert [file.read_text() for file in files] == made
    assert made[0] != made[1]
    for file in files:
        assert len(file.read_text()) >= 32
        assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert sorted(tmp_path.iterdir()) == files, "no draft is left"


def test_a_password_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passwords.main([str(tmp_path / "missing" / "password")]) == 1

    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "No such file or directory" in said.err


def test_connections_are_those_of_all_processes_of_all_replicas() -> None:
    sizes = Sizes.from_mapping(
        {
            "DATABASE_URL": URL,
            "STACK_REPLICAS": "3",
            "STACK_PROCESSES": "2",
            "STACK_THREADS": "8",
            "STACK_POOL_SIZE": "24",
            "STACK_MAX_OVERFLOW": "8",
            "COMMONPOOL_MAX_WORKERS": "24",
        }
    )

    assert sizes.connections_of_a_process == 24 + 8 + 1
    assert sizes.connections == 3 * 2 * 33
    assert str(sizes) == (
        "3 replicas x 2 processes x (24 + 8 + 1) connections = 198; "
        "8 request threads and 24 workers in each process"
    )


def test_replicas_are_at_least_those_that_are_found() -> None:
    # localhost has one IPv4 address, a name that nobody knows none
    assert Sizes.from_mapping({"STACK_SERVICE": "localhost"}).replicas == 1
    assert Sizes.from_mapping({"STACK_SERVICE": "no.such.host.invalid"}).replicas == 1
    named = {"STACK_SERVICE": "localhost", "STACK_REPLICAS": "4"}
    assert Sizes.from_mapping(named).replicas == 4


@pytest.mark.parametrize("value", ["0", "two", "1001", "1.5"])
def test_replicas_are_a_whole_number(value: str) -> None:
    with pytest.raises(SettingsError, match=f"STACK_REPLICAS is '{value}'"):
        Sizes.from_mapping({"STACK_REPLICAS": value})


def test_a_database_that_does_not_answer_is_said_and_no_reason_not_to_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    url = f"mysql+pymysql://flights@127.0.0.1:{port}/flights"

    check(Sizes.from_mapping({"DATABASE_URL": url}))

    said = capsys.readouterr().err
    assert said.startswith("stack: the database does not answer: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "plain", "live"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 0, 0),
        (b"HTTP/1.1 503 SERVICE UNAVAILABLE\r\n\r\n", 1, 0),
        (b"nonsense\r\n", 1, 1),
        (b"", 1, 1),
    ],
)
def test_health_is_what_is_answered(line: bytes, plain: int, live: int) -> None:
    for arguments, status in ([], plain), (["--live"], live):
        with _answering(line) as port:
            assert health.main(arguments, port) == status


def test_what_has_been_well_once_is_asked_as_with_live(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STACK_RUN_DIR", str(tmp_path))
    seen = []
    for line in (b"HTTP/1.1 503 NO\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 NO\r\n", b""):
        with _answering(line) as port:
            seen.append(health.main(["--started"], port))

    assert seen == [1, 0, 0, 1]


def test_nobody_who_answers_is_not_healthy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    assert health.main(["--live"], port) == 1
    assert capsys.readouterr().err.startswith("/healthz: ")
    assert health.main(["--lively"]) == 2


def test_a_container_that_is_told_to_end_closes_its_socket_and_ends(tmp_path: Path) -> None:
    """With the wheel's uWSGI on SQLite: what is asked of, and done by, the program itself."""
    with socket.create_server(("", 0)) as unused:
        port = unused.getsockname()[1]
    code = f"import sys; from stack.container.serving import serve; sys.exit(serve({port}))"
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("STACK_", "UWSGI_"))}
    log = tmp_path / "log"
    with log.open("wb") as written:
        server = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environ
            | {
                "STACK_RUN_DIR": str(tmp_path),
                "STACK_PYUWSGI": sys.executable,
                "STACK_PROCESSES": "1",
                "DATABASE_URL": f"sqlite:///{tmp_path}/none.db",
            },
            stdout=written,
            stderr=written,
        )
    try:
        status = 0
        for _ in range(600):
            try:
                status, _line = health.ask(port)
                break
            except OSError:
                threading.Event().wait(0.1)
        assert status == 503, log.read_text()  # there is no such database

        server.send_signal(signal.SIGTERM)

        assert server.wait(30) == 0, log.read_text()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


START = {"DATABASE_URL": "sqlite:////none.db", "STACK_RUN_DIR": "/run/stack"}


def test_a_start_with_which_nothing_is_wrong_is_not_held_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    examine_start(Sizes.from_mapping(START), START)

    assert capsys.readouterr().err == ""


FAILING = START | {"COMMONPOOL_DEADLINE": "45", "STACK_THREADS": "12", "STACK_MAX_OVERFLOW": "0"}


def test_a_start_with_a_failure_is_refused_with_what_to_write(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ExaminationError, match=r"^1 failure, above; COMMONPOOL_DOCTOR=warn starts"):
        examine_start(Sizes.from_mapping(FAILING), FAILING)

    said = capsys.readouterr().err
    assert said.startswith("FAIL  deadline-not-below-harakiri\n")
    assert "env = COMMONPOOL_DEADLINE=27" in said
    assert "\x1b" not in said


def test_a_start_with_a_failure_may_be_warned_of_alone(capsys: pytest.CaptureFixture[str]) -> None:
    environ = FAILING | {"COMMONPOOL_DOCTOR": "warn"}

    examine_start(Sizes.from_mapping(environ), environ)

    assert capsys.readouterr().err.startswith("FAIL  deadline-not-below-harakiri\n")


def test_a_warning_is_said_and_no_reason_not_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    environ = START | {"DATABASE_URL": URL, "STACK_POOL_SIZE": "5", "STACK_MAX_OVERFLOW": "0"}

    examine_start(Sizes.from_mapping(environ), environ)

    said = capsys.readouterr().err
    assert said.startswith("WARN  engine-below-threads\n")
    assert "5 + 0 = 5 connections, and each process 8 request threads" in said


def test_what_becomes_of_a_failure_is_one_of_two_words() -> None:
    environ = START | {"COMMONPOOL_DOCTOR": "maybe"}

    with pytest.raises(ExaminationError, match="'maybe'; it must be 'refuse' or 'warn'"):
        examine_start(Sizes.from_mapping(environ), environ)


@pytest.mark.parametrize(("mode", "status"), [("", 2), ("refuse", 2)])
def test_the_program_refuses_a_failure_with_status_2(mode: str, status: int) -> None:
    own = {n: v for n, v in os.environ.items() if not n.startswith(("STACK_", "COMMONPOOL_"))}

    done = subprocess.run(
        [sys.executable, "-m", "stack.container"],
        env=own | FAILING | {"COMMONPOOL_DOCTOR": mode},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status
    assert "FAIL  deadline-not-below-harakiri\n" in done.stderr
    assert "stack: refused to start: 1 failure, above" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_setting_of_the_examination_is_none_of_the_pools() -> None:
    assert PoolConfig.from_env({"COMMONPOOL_DOCTOR": "warn"}) == PoolConfig()


@contextmanager
def _answering(line: bytes) -> Iterator[int]:
    """Whoever connects is told this, whatever was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(line)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)
