"""`commonpool plan`, as it is typed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from commonpool.cli.plan import command
from commonpool.tune.recording import FILE
from tests.plan.helpers import measured, recorded


def plan(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def figures(*arguments: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(plan(*arguments, "--json").stdout)
    return told


def test_a_load_that_this_machine_cannot_produce_is_planned(folder: Path) -> None:
    got = plan(folder, "--rps", 1000, "--p99", 0.3, "--hosts", 16)
    assert got.exit_code == 0, got.output
    assert got.output.startswith("1,000 requests/s, p99 within 300 ms: 16 hosts, 2 cores each\n")
    for words in (
        "The goal is met",
        "COMMONPOOL_MAX_WORKERS=",
        "90 % from",
        "limits first",
        "It would have to serve 8,000 tasks/s",
        "nginx",
        "network",
    ):
        assert words in re.sub(r"\s+", " ", got.output)


@pytest.mark.parametrize("hosts", [2, 9, 16, None])
def test_it_is_plain_text_of_80_columns(folder: Path, hosts: int | None) -> None:
    some = () if hosts is None else ("--hosts", hosts)
    got = plan(folder, "--rps", 1000, "--p99", 0.3, *some)
    assert max(map(len, got.output.splitlines())) <= 80
    assert got.output.isascii()
    assert re.fullmatch(r"[\x20-\x7e\n]+", got.output)
    assert not re.search(r" $", got.output, re.MULTILINE)


def test_overload_is_said_with_the_hosts_that_would_do(folder: Path) -> None:
    got = plan(folder, "--rps", 1000, "--p99", 0.3, "--hosts", 2)
    assert got.exit_code == 1
    said = re.sub(r"\s+", " ", got.output)
    found = re.search(
        r"OVERLOAD: that is (\d+)% of what 2 hosts can serve.*?(\d+) hosts would do", said
    )
    assert found, got.output
    assert int(found[1]) > 100
    enough = figures(folder, "--rps", 1000, "--p99", 0.3, "--hosts", found[2])
    assert enough["met"]
    told = figures(folder, "--rps", 1000, "--p99", 0.3, "--hosts", 2)
    assert (told["overloaded"], told["met"], told["p99"]) == (True, False, None)
    assert told["hosts_needed"] == int(found[2])


def test_without_hosts_it_says_how_many_it_takes(folder: Path) -> None:
    told = figures(folder, "--rps", 500, "--p99", 0.4)
    assert told["met"]
    assert told["hosts"] == told["hosts_needed"]
    # 12 ms of two cores each: no fewer could.
    assert told["hosts"] >= 500 * 0.012 / 2
    assert figures(folder, "--rps", 1000, "--p99", 0.4)["hosts"] > told["hosts"]


def test_more_cores_take_fewer_hosts(folder: Path) -> None:
    few = figures(folder, "--rps", 1000, "--p99", 0.4, "--cores", 8)
    many = figures(folder, "--rps", 1000, "--p99", 0.4, "--cores", 2)
    assert few["hosts"] < many["hosts"]
    assert few["processes"] > many["processes"]


def test_a_limit_that_one_request_alone_does_not_keep_is_met_by_no_host(folder: Path) -> None:
    got = plan(folder, "--rps", 10, "--p99", 0.01)
    assert got.exit_code == 1
    assert "no number of hosts would do" in re.sub(r"\s+", " ", got.output)


def test_connections_stay_within_what_the_database_has(folder: Path) -> None:
    asked = (folder, "--rps", 200, "--p99", 0.4, "--hosts", 4)
    free = figures(*asked)
    told = figures(*asked, "--max-connections", 120)
    assert free["met"]
    for figure in (free, told):
        each = figure["threads"] + figure["max_workers"] + 1
        assert figure["connections"]["process"] == each
        assert figure["connections"]["host"] == each * figure["processes"]
        assert figure["connections"]["all"] == each * figure["processes"] * figure["hosts"]
    assert told["connections"]["all"] <= 120
    none = plan(*asked, "--max-connections", 4)
    assert none.exit_code == 1, none.output


def test_the_figures_of_json_are_those_of_the_text(folder: Path) -> None:
    asked = (folder, "--rps", 300, "--p99", 0.5, "--hosts", 5)
    told, text = figures(*asked), plan(*asked).output
    for name in ("p50", "p99"):
        assert told[name]["low"] <= told[name]["expected"] <= told[name]["high"]
        assert f"{told[name]['expected'] * 1000:.0f}" in text.replace(",", "").replace(".", " ")
    assert f"processes = {told['processes']}\n" in text
    assert told["met"]
    assert told["p99"]["expected"] <= 0.5
    assert set(told["used"]) == {"processor", "threads", "workers"}
    assert told["queries_per_second"] == pytest.approx(2400)


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
    assert got.exit_code == 2
    errors = [line for line in got.output.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert words in errors[0]


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
        time.sleep(1.5)  # wherever it is by then
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert "Traceback" not in output + errors
    assert process.returncode in {130, 1}
