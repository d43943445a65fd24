"""`commonpool plan`, as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from commonpool.cli.plan import command
from commonpool.tune.recording import FILE
from tests.helpers import wait_until
from tests.plan.helpers import measured, recorded


def plan(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_load_that_this_machine_cannot_produce_is_planned(folder: Path) -> None:
    got = plan(folder, "--rps", 1000, "--p99", 0.4, "--hosts", 16)
    assert got.exit_code == 0, got.output
    assert got.output.startswith("1,000 requests/s, p99 within 400 ms: 16 hosts, 2 cores each\n")
    assert "The goal is met" in got.output


def test_what_is_not_met_is_status_1_and_json_says_why(folder: Path) -> None:
    got = plan(folder, "--rps", 1000, "--p99", 0.3, "--hosts", 2, "--json")
    assert got.exit_code == 1, got.output
    told = json.loads(got.stdout)
    assert (told["overloaded"], told["met"], told["p99"]) == (True, False, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--p99", "0.3"), "Missing option '--rps'"),
        (("--rps", "0", "--p99", "0.3"), "--rps"),
        (("--rps", "nan", "--p99", "0.3"), "--rps"),
        (("--rps", "inf", "--p99", "0.3"), "--rps"),
        (("--rps", "many", "--p99", "0.3"), "--rps"),
        (("--rps", "10", "--p99", "-1"), "--p99"),
        (("--rps", "10", "--p99", "0.3", "--hosts", "0"), "--hosts"),
        (("--rps", "10", "--p99", "0.3", "--cores", "0"), "--cores"),
        (("--rps", "10", "--p99", "0.3", "--max-connections", "0"), "--max-connections"),
    ],
)
def test_a_bad_argument_is_one_line(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    got = plan(folder, *arguments)
    assert got.exit_code == 3
    assert got.output.startswith("commonpool plan: ")
    assert got.output.count("\n") == 1
    assert words in got.output


def hostile(content: bytes, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(content)
    return folder


_BEGIN = b'{"kind":"begin","url":"http://a/","ini":"b.ini","cores":2}\n'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe" * 1000,
        b"[1, 2, 3]\n",
        b'{"kind":"begin"}\n',
        b'{"kind":"begin","url":"http://a/","ini":"b.ini","cores":"two"}\n',
        _BEGIN,
        _BEGIN + b'{"kind":"alone","unloaded":"abcdefghijklmnop"}\n',
        _BEGIN + b'{"kind":"alone","unloaded":7}\n',
        _BEGIN + b'{"kind":"alone","unloaded":[1e400,NaN,1,1,1,1,1,1,1,1,1,1]}\n',
        _BEGIN + b'{"kind":"run"}\n',
        _BEGIN + b'{"kind":"run","sizes":{"processes":"x"},"latencies":"no"}\n',
    ],
)
def test_a_file_that_holds_something_else_is_one_line(content: bytes, tmp_path: Path) -> None:
    got = plan(hostile(content, tmp_path / "tune"), "--rps", 10, "--p99", 0.3)
    assert got.exit_code == 3, got.output
    assert len(got.output.splitlines()) == 1
    assert got.output.startswith("commonpool plan: ")


def test_no_folder_is_one_line_that_says_what_to_run(tmp_path: Path) -> None:
    got = plan(tmp_path / "none", "--rps", 10, "--p99", 0.3)
    assert got.exit_code == 3
    assert got.output == (
        f"commonpool plan: {tmp_path / 'none'} does not exist: run commonpool tune first, "
        "or name its --output\n"
    )


def test_too_few_loads_are_one_line_that_says_what_to_run(tmp_path: Path) -> None:
    folder = recorded(tmp_path, measured(rates=(4.0, 8.0), rounds=1, seconds=10))
    got = plan(folder, "--rps", 10, "--p99", 0.3)
    assert got.exit_code == 3
    assert "run commonpool tune http://127.0.0.1/ --ini uwsgi.ini" in got.output
    assert len(got.output.splitlines()) == 1


def test_ctrl_c_is_no_traceback(folder: Path) -> None:
    arguments = [sys.executable, "-m", "commonpool", "plan", str(folder)]
    arguments += ["--rps", "100000", "--p99", "0.3", "--cores", "256"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        wait_until(lambda: "numpy" in maps.read_text(), 60)  # it is at its work, or about to be
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert "Traceback" not in output + errors
    assert process.returncode == 130


def test_output_that_cannot_be_written_is_one_line(folder: Path) -> None:
    arguments = [sys.executable, "-m", "commonpool", "plan", str(folder)]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*arguments, "--rps", "10", "--p99", "0.5"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == "commonpool plan: cannot go on: [Errno 28] No space left on device\n"
    assert done.returncode == 3  # 1 would say that the goal is not met
