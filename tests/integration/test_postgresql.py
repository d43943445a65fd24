"""PostgreSQL as the tests run it: whose it is, who is let in, what is kept, and how it ends."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from stack.native import programs
from stack.native.errors import NativeError
from stack.native.postgresql import MAX_CONNECTIONS, PostgreSQL, postgresql
from stack.native.programs import find_program
from stack.native.servers import run_folder
from tests.integration.helpers import group_members

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """Skip where PostgreSQL is missing, but never in CI."""
    try:
        find_program("postgres")
        find_program("initdb")
    except NativeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def folder() -> Iterator[Path]:
    """For data: a place that the server's own user can get at."""
    with run_folder() as made:
        yield made


@pytest.fixture
def server(folder: Path) -> Iterator[PostgreSQL]:
    with run_folder() as run, postgresql(folder, run) as running:
        yield running


def ask(url: str, *statements: str) -> object:
    """Return the first value of the last of the statements."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements[:-1]:
            connection.execute(text(statement))
        return connection.scalar(text(statements[-1]))


def test_it_is_reached_over_tcp_and_through_its_socket(server: PostgreSQL) -> None:
    assert ask(server.url, "SELECT inet_server_port()") == server.port
    assert ask(server.socket_url, "SELECT inet_server_port()") is None
    assert ask(server.socket_url, "SELECT current_user || ' ' || current_database()") == (
        "flights flights"
    )
    assert ask(server.url, "SHOW max_connections") == str(MAX_CONNECTIONS)


def test_nobody_is_let_in_without_the_password(server: PostgreSQL) -> None:
    url = make_url(server.url).set(drivername="postgresql")
    for wrong, reason in (
        (url.set(password="wrong"), "password authentication failed"),
        (url.set(username="postgres"), "no pg_hba.conf entry"),
        (url.set(database="postgres"), "no pg_hba.conf entry"),
    ):
        with pytest.raises(psycopg.OperationalError, match=reason):
            psycopg.connect(wrong.render_as_string(hide_password=False))


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_in_the_folder_is_used_again(folder: Path, *, durable: bool) -> None:
    with run_folder() as run, postgresql(folder, run, durable=durable) as first:
        ask(first.url, "CREATE TABLE kept AS SELECT 42 AS n", "SELECT 1")
        assert ask(first.url, "SHOW fsync") == ("on" if durable else "off")
    with run_folder() as run, postgresql(folder, run) as second:
        assert second.password != first.password
        assert ask(second.url, "SELECT n FROM kept") == 42


def test_it_ends_although_somebody_is_connected_and_leaves_no_process(folder: Path) -> None:
    with run_folder() as run:
        with postgresql(folder, run) as running:
            url = make_url(running.url).set(drivername="postgresql")
            connection = psycopg.connect(url.render_as_string(hide_password=False))
            connection.execute("SELECT 1")
            pid = connection.info.backend_pid
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            connection.execute("SELECT 1")
        connection.close()
        assert "database system is shut down" in running.child.log.read_text()
        assert group_members(running.child.pid) == []
        assert not Path(f"/proc/{pid}").exists()


def test_data_of_another_version_are_an_error_with_what_the_server_said(folder: Path) -> None:
    with run_folder() as run, postgresql(folder, run):
        pass
    (folder / "data" / "PG_VERSION").write_text("9.6\n")
    with (
        run_folder() as run,
        pytest.raises(NativeError, match=r"(?s)^postgres failed; see .*9\.6"),
        postgresql(folder, run),
    ):
        pass


def test_root_without_a_user_for_it_is_told_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(name: str) -> object:
        raise KeyError(name)

    monkeypatch.setattr("stack.native.users.os.geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    with (
        run_folder() as run,
        pytest.raises(NativeError, match="PostgreSQL does not run as root, and there is no user"),
        postgresql(folder, run),
    ):
        pass


def test_it_starts_where_its_user_may_not_be(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.chdir(private)
    with run_folder() as run, postgresql(folder, run) as running:
        assert ask(running.url, "SELECT 1") == 1


def test_the_newest_of_several_versions_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9.6", "16", "15"):
        program = tmp_path / "usr/lib/postgresql" / version / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_ALSO", ())
    monkeypatch.setattr(programs, "_ROOT", tmp_path)
    assert find_program("postgres") == f"{tmp_path}/usr/lib/postgresql/16/bin/postgres"
