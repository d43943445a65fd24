"""The loader: all of the data, or none of it."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from stack.data.errors import DataError
from stack.data.load import load
from stack.data.source import Source
from stack.data.urls import parse_database_url
from tests.helpers import wait_until
from tests.stack.helpers import EVERY, Silent, stack_command

if TYPE_CHECKING:
    from pathlib import Path

ALL_FLIGHTS = 336_776
SAMPLE_FLIGHTS = -(-ALL_FLIGHTS // EVERY)


def flights_in(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT count(*) FROM flights").fetchone()[0]


def load_sample(file: Path, sample: Path):
    return load(parse_database_url(f"sqlite:///{file}"), lambda: Source(sample), Silent())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "flights.db"


def test_the_whole_year_is_loaded_with_the_row_counts_of_the_files(file):
    process = stack_command("load", "--database-url", f"sqlite:///{file}")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert f"Loaded {ALL_FLIGHTS:,} flights" in out
    with closing(sqlite3.connect(file)) as connection:
        counts = dict(connection.execute("SELECT name, row_count FROM loaded_tables"))
        assert counts == {
            "airlines": 16,
            "airports": 1_458,
            "planes": 3_322,
            "weather": 26_115,
            "flights": ALL_FLIGHTS,
        }
        for table, count in counts.items():
            rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            assert rows == count


def test_values_arrive_as_they_are_in_the_files(file, sample):
    load_sample(file, sample)
    with closing(sqlite3.connect(file)) as connection:
        first = connection.execute(
            "SELECT month, day, dep_delay, carrier, tailnum, origin, dest, time_hour "
            "FROM flights ORDER BY id LIMIT 1"
        ).fetchone()
        nulls = connection.execute("SELECT count(*) FROM flights WHERE dep_delay IS NULL")
        assert nulls.fetchone()[0] > 0
    assert first == (1, 1, 2, "UA", "N14228", "EWR", "IAH", "2013-01-01 10:00:00.000000")


def test_a_second_load_finds_all_there_and_changes_nothing(file, sample):
    assert not load_sample(file, sample).already_there
    before = file.stat()
    report = load_sample(file, sample)
    assert report.already_there
    assert report.flights == SAMPLE_FLIGHTS
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_load_with_rows_missing_is_made_anew(file, sample):
    load_sample(file, sample)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM weather WHERE rowid IN (SELECT rowid FROM weather LIMIT 1)")
    assert not load_sample(file, sample).already_there
    assert load_sample(file, sample).already_there


def test_other_files_are_loaded_in_place_of_what_is_there(file, sample, tmp_path):
    load_sample(file, sample)
    other = shutil.copytree(sample, tmp_path / "other")
    with (other / "airlines.csv").open("a") as airlines:
        airlines.write("ZZ,Zeppelin\n")
    assert not load_sample(file, other).already_there
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM airlines").fetchone()[0] == 17


def test_a_whole_load_will_do_where_the_files_are_gone(file, sample):
    load_sample(file, sample)

    def gone() -> Source:
        raise DataError("gone")

    assert load(parse_database_url(f"sqlite:///{file}"), gone, Silent()).already_there


@pytest.mark.parametrize("there_before", [False, True], ids=["at first", "over an older load"])
def test_a_load_killed_midway_leaves_what_was_there_and_can_be_run_again(
    file, sample, there_before
):
    if there_before:
        load_sample(file, sample)
    process = stack_command("load", "--database-url", f"sqlite:///{file}")
    partial = file.with_name("flights.db.loading")
    wait_until(lambda: partial.exists() and partial.stat().st_size > 1_000_000)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert file.exists() == there_before
    if there_before:
        assert flights_in(file) == SAMPLE_FLIGHTS
    load_sample(file, sample)
    assert flights_in(file) == SAMPLE_FLIGHTS
    assert not partial.exists()


def test_control_c_is_one_line_and_leaves_nothing_behind(file):
    process = stack_command("load", "--database-url", f"sqlite:///{file}")
    partial = file.with_name("flights.db.loading")
    wait_until(partial.exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert err.strip() == "Interrupted; nothing is half done."
    assert not file.exists()
    assert not partial.exists()


def test_two_loads_at_once_do_not_harm_each_other(file, sample):
    arguments = ("load", "--database-url", f"sqlite:///{file}", "--source", str(sample))
    both = [stack_command(*arguments) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(out.split()[0] for out, _ in outputs) == ["All", "Loaded"]
    assert flights_in(file) == SAMPLE_FLIGHTS


def test_a_value_of_the_wrong_kind_names_file_and_line_and_changes_nothing(file, sample, tmp_path):
    load_sample(file, sample)
    bad = shutil.copytree(sample, tmp_path / "bad")
    lines = (bad / "planes.csv").read_text().splitlines()
    lines[3] = lines[3].replace(",2,", ",two,")
    (bad / "planes.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"planes\.csv, line 4: .*'two'"):
        load_sample(file, bad)
    assert flights_in(file) == SAMPLE_FLIGHTS


def test_a_missing_file_and_a_missing_column_are_named(file, sample, tmp_path):
    bad = shutil.copytree(sample, tmp_path / "bad")
    (bad / "airlines.csv").write_text("carrier\nAA\n")
    with pytest.raises(DataError, match=r"airlines\.csv has no column 'name'"):
        load_sample(file, bad)
    (bad / "airlines.csv").unlink()
    with pytest.raises(DataError, match=r"there is no airlines\.csv in "):
        load_sample(file, bad)


def test_a_damaged_archive_is_named(file, sample, tmp_path):
    bad = shutil.copytree(sample, tmp_path / "bad")
    (bad / "flights.csv").unlink()
    (bad / "flights.csv.zip").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"flights\.csv\.zip is damaged"):
        load_sample(file, bad)


def test_a_database_that_fills_its_disk_is_one_line(file, sample, monkeypatch):
    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr("stack.data.load._build", full)
    with pytest.raises(DataError, match=r"^SQLite file .*: database or disk is full$"):
        load_sample(file, sample)
    assert list(file.parent.glob("*.loading")) == []
