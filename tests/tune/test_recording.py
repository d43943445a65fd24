"""What was measured is in the file at once, and can be read whatever happened to its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from commonpool.chain.measured import Run, Sizes
from commonpool.tune.errors import TuneError
from commonpool.tune.recording import FILE, Recording, read


def a_run(number: int = 0) -> Run:
    return Run(
        sizes=Sizes(2, 8, 24, 32),
        round=number,
        rps=50.0,
        seconds=4.0,
        latencies=(0.1, 0.25),
        failures={"503": 2},
        processor_seconds=1.5,
        memory=(50_000_000, 51_000_000),
        connections=12,
    )


def recorded(folder: Path) -> Recording:
    return Recording(folder, url="http://127.0.0.1/", ini="uwsgi.ini", cores=2)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    with recorded(tmp_path / "a" / "folder") as recording:
        recording.alone([0.01, 0.02], 0.003, 8.0)
        recording.run(a_run())
        recording.run(a_run(1))
        got = read(tmp_path / "a" / "folder")  # before it is closed
    assert (got.url, got.ini, got.cores) == ("http://127.0.0.1/", "uwsgi.ini", 2)
    assert got.unloaded == (0.01, 0.02)
    assert (got.processor_seconds_per_request, got.tasks_per_request) == (0.003, 8.0)
    assert got.runs == (a_run(), a_run(1))


def test_a_line_that_a_crash_has_torn_costs_itself_alone(tmp_path: Path) -> None:
    with recorded(tmp_path) as recording:
        recording.run(a_run())
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"kind":"run","sizes":{"proc')
    assert read(tmp_path).runs == (a_run(),)
    with recorded(tmp_path) as recording:
        recording.run(a_run(1))
    assert read(tmp_path / FILE).runs == (a_run(1),)  # the last run of the program


def test_a_file_that_is_missing_or_something_else_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="cannot be read: No such file"):
        read(tmp_path / "missing")
    with pytest.raises(TuneError, match="/dev/zero is no regular file"):
        read("/dev/zero")  # which has no end
    (tmp_path / FILE).write_text("hello\n")
    with pytest.raises(TuneError, match="holds no measurements"):
        read(tmp_path)
    (tmp_path / FILE).write_text('{"kind":"begin","url":"/","ini":"","cores":1}\n{"kind":"run"}\n')
    with pytest.raises(TuneError, match=f"{FILE}:2 is no measurement: KeyError"):
        read(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    with pytest.raises(TuneError, match="cannot be written: No space left on device"):
        recorded(tmp_path)
