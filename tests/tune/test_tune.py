"""The command, whole: real uWSGI and an application of which the truth is known.

A request sleeps 0.05 s, so a setting serves (processes x threads) / 0.05 requests a second.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from commonpool.chain.measured import Sizes
from commonpool.cli.commands import commands
from commonpool.tune.recording import read
from tests.helpers import wait_until
from tests.tune.helpers import INI, an_ini, command, environ, left_of, start, tune

URL = "http://127.0.0.1:8080/?s=0.05"
SHORT = ("--seconds", "0.8", "--rounds", "2")
THREADS = ("--grid", "threads=1,2,6,8 processes=1")


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run for several tests: 60 requests/s need three threads at least, and 6 with ease."""
    folder = tmp_path_factory.mktemp("tuned")
    ini = an_ini(folder)
    done = tune(
        *(URL, "--ini", ini, "--rps", "60", "--p99", "0.6", "--output", "out", "--write"),
        *(*SHORT, *THREADS),
        cwd=folder,
    )
    return folder, done


def test_the_smallest_setting_that_serves_the_load_is_found(
    tuned: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = tuned
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "out" / "result.json").read_text())
    assert result["recommended"]["sizes"]["threads"] == 6
    assert result["meets"]
    assert "1 x 6, 2 workers is the smallest that serves 60 requests/s" in done.stdout
    # What cannot be, by arithmetic, is not measured.
    assert {run.sizes.threads for run in read(folder / "out").runs} == {6, 8}
    assert re.search(r"At present: 1 request thread serves 2\d requests/s at most", done.stdout)


def test_what_was_measured_can_be_read(
    tuned: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = tuned
    got = read(folder / "out")
    assert got.url == URL
    assert 0.05 <= min(got.unloaded) < 0.15
    assert got.processor_seconds_per_request < 0.1
    assert got.tasks_per_request == 0
    assert all(len(run.memory) == run.sizes.processes for run in got.runs)
    assert all(memory > 1_000_000 for run in got.runs for memory in run.memory)
    assert len({run.rps for run in got.runs}) >= 4  # other loads, for the plot and the plan


def test_the_file_is_changed_and_a_copy_kept(
    tuned: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = tuned
    before = (folder / "uwsgi.ini.before-tune").read_text()
    assert before == INI.format(folder=Path(__file__).parent, socket=folder / "production.sock")
    assert (folder / "uwsgi.ini").read_text() == before.replace("threads = 1", "threads = 6")
    assert "-threads = 1\n+threads = 6\n" in done.stdout
    assert "Written:" in done.stdout


def test_a_log_is_plain_text_of_80_columns(
    tuned: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = tuned
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)
    measurements = [line for line in done.stdout.splitlines() if " p99 " in line and "/s" in line]
    assert len(measurements) >= 8
    table = done.stdout[done.stdout.index("proc  ") :]
    for line in table.splitlines():
        if not line.startswith(("---", "+++", " wsgi", " python")):
            assert len(line) <= 80, line


def test_the_report_is_one_file_that_asks_nobody_for_anything(
    tuned: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = tuned
    page = (folder / "out" / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=["'](?!#)|@import|url\((?!#)""", page)
    assert "1 x 6, 2 workers (recommended)" in page
    assert "nginx is not in the way" in page
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"latency.png", "latency.svg", "measurements.jsonl", "recommended.diff"} <= names
    assert (folder / "out" / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_left_running(tuned: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = tuned
    assert not left_of(folder)


def test_without_a_rate_the_setting_that_serves_most_is_found(tmp_path: Path) -> None:
    ini = an_ini(tmp_path)
    done = tune(
        *("http://127.0.0.1/?s=0.05", "--ini", ini, "--p99", "0.4", "--output", "out"),
        *("--seconds", "0.3", "--rounds", "1", "--grid", "threads=8 processes=1"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["recommended"]["sizes"]["threads"] == 8
    assert result["present"]["sizes"]["threads"] == 1
    assert result["recommended"]["figure"] > 2 * result["present"]["figure"]
    assert "times as many" in " ".join(done.stdout.split())
    assert "over " in done.stdout
    assert "requests failed" not in done.stdout  # too much was asked on purpose


def test_a_goal_that_nothing_meets_is_said_plainly_and_nothing_is_written(tmp_path: Path) -> None:
    ini = an_ini(tmp_path)
    before = ini.read_text()
    done = tune(
        *("http://h/?s=0.02", "--ini", ini, "--rps", "40", "--p99", "0.01", "--output", "out"),
        *("--write", "--seconds", "0.3", "--rounds", "1", "--grid", "threads=2"),
        cwd=tmp_path,
    )
    assert "No setting that was tried serves 40 requests/s" in " ".join(done.stdout.split())
    assert done.stderr.strip() == (
        "commonpool tune: no setting meets the goal, so nothing was written"
    )
    assert done.returncode == 3
    assert ini.read_text() == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_was_measured_and_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    ini = an_ini(tmp_path)
    running = start(
        *(URL, "--ini", ini, "--rps", "20", "--p99", "0.6", "--output", "out", *THREADS),
        *("--seconds", "1"),
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    lines = tmp_path / "out" / "measurements.jsonl"
    wait_until(lambda: lines.exists() and '"kind":"run"' in lines.read_text(), limit=40)
    assert left_of(tmp_path)
    running.send_signal(number)
    said, errors = running.communicate(timeout=20)
    assert running.returncode == status, said + errors
    assert "Traceback" not in errors
    assert "It was interrupted" in said
    assert (tmp_path / "out" / "report.html").exists()
    assert read(tmp_path / "out").runs
    wait_until(lambda: not left_of(tmp_path), limit=5)


def test_being_killed_outright_leaves_nothing_running_either(tmp_path: Path) -> None:
    ini = an_ini(tmp_path)
    running = start(
        *(URL, "--ini", ini, "--rps", "20", "--p99", "0.6", "--output", "out"), cwd=tmp_path
    )
    wait_until(lambda: any("uwsgi --ini /tmp" in words for words in left_of(tmp_path)), limit=30)
    running.kill()
    running.communicate()
    wait_until(lambda: not left_of(tmp_path), limit=10)


def test_on_a_terminal_there_is_a_bar_and_the_present_setting_is_what_uwsgi_reads(
    tmp_path: Path,
) -> None:
    ini = an_ini(tmp_path, INI.replace("processes = 1", "processes = $(HOW_MANY)"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(
            *("http://h/?s=0.02", "--ini", ini, "--rps", "40", "--p99", "0.6", "--output", "out"),
            *("--seconds", "0.3", "--rounds", "1", "--grid", "threads=1"),
        ),
        cwd=tmp_path,
        env={**environ(tmp_path), "TERM": "xterm", "COLUMNS": "80", "HOW_MANY": "2"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    end = time.monotonic() + 40
    while time.monotonic() < end and select.select([ours], [], [], 40)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
        said += part
    os.close(ours)
    assert process.wait(5) == 0, said.decode()
    assert "━".encode() in said  # the bar
    assert b"is the smallest that serves 40 requests/s" in said
    assert b"At present: 2 x 1, 2 workers" in said
    assert {run.sizes for run in read(tmp_path / "out").runs} == {Sizes(2, 1, 2)}


URLS = "http://127.0.0.1/"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((URLS, "--ini", "missing.ini"), "missing.ini: there is no such file"),
        (("https://example.org/", "--ini", "uwsgi.ini"), "the URL begins with https"),
        (("http://example.org", "--ini", "uwsgi.ini"), "has no path: write which page"),
        (("example.org/x", "--ini", "uwsgi.ini"), "is no URL such as"),
        (("http://h:99999/", "--ini", "uwsgi.ini"), "is no URL"),
        ((URLS, "--ini", "uwsgi.ini", "--p99", "0"), "--p99 is 0; it must be above 0"),
        ((URLS, "--ini", "uwsgi.ini", "--p99", "nan"), "--p99 is nan; it must be above 0"),
        ((URLS, "--ini", "uwsgi.ini", "--rps", "-5"), "--rps is -5; it must be above 0"),
        ((URLS, "--ini", "uwsgi.ini", "--rps", "20000"), "a load of more than 10,000 requests/s"),
        ((URLS, "--ini", "uwsgi.ini", "--rps", "many"), "--rps': 'many' is not a valid float"),
        ((URLS,), "Missing option '--ini'"),
        ((URLS, "--ini", "uwsgi.ini", "--frob"), "No such option"),
        ((URLS, "--ini", "uwsgi.ini", "--grid", "threads=a"), "--grid: threads='a'"),
        ((URLS, "--ini", "uwsgi.ini", "--grid", "connections=5"), "with --pool-variable"),
        ((URLS, "--ini", "uwsgi.ini", "--pool-variable", "A B"), "is no name of a variable"),
        ((URLS, "--ini", "uwsgi.ini", "--output", "/proc/none"), "/proc/none cannot be written"),
        ((URLS, "--ini", "uwsgi.ini", "--output", "uwsgi.ini"), "uwsgi.ini cannot be written"),
    ],
)
def test_bad_input_is_one_line_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    an_ini(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(commands, ["tune", *arguments])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 3
    assert done.stderr.startswith("commonpool tune: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert not done.stdout


def test_a_page_that_fails_is_said_with_the_last_exception(tmp_path: Path) -> None:
    ini = an_ini(tmp_path)
    done = tune("http://127.0.0.1/broken?s=0", "--ini", ini, "--output", "out", cwd=tmp_path)
    assert done.returncode == 3
    assert "/broken?s=0 answers " in done.stderr
    assert "OSError: [Errno 1040] Too many connections" in done.stderr
    assert not left_of(tmp_path)


QUICK = ("--rps", "20", "--p99", "0.6", "--seconds", "0.3", "--rounds", "1", "--grid", "threads=1")


def test_a_reader_that_has_seen_enough_costs_no_report(tmp_path: Path) -> None:
    running = start(URL, "--ini", an_ini(tmp_path), "--output", "out", *QUICK, cwd=tmp_path)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    assert running.wait(50) == 0
    assert running.stderr.read() == ""
    running.stderr.close()
    assert (tmp_path / "out" / "report.html").exists()


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            command(URL, "--ini", an_ini(tmp_path), "--output", "out", *QUICK),
            cwd=tmp_path,
            env=environ(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=55,
        )
    assert done.stderr == "commonpool tune: cannot go on: [Errno 28] No space left on device\n"
    assert done.returncode == 3
    assert not left_of(tmp_path)


def test_what_was_measured_is_told_where_no_report_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").symlink_to("/dev/full")
    url = "http://bob:geheim@h/moved?s=0.02&\N{LATIN SMALL LETTER U WITH DIAERESIS}"
    done = tune(
        *(url, "--ini", an_ini(tmp_path), "--output", "out", *QUICK),
        cwd=tmp_path,
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 3
    assert done.stderr == "commonpool tune: out cannot be written: No space left on device\n"
    said = " ".join(done.stdout.split())
    assert "1 x 1, 2 workers is the smallest that serves 20 requests/s" in said
    assert "answers with a redirect to /login: that answer is what was measured" in said
    assert "geheim" not in (tmp_path / "out" / "measurements.jsonl").read_text()


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.0])
def test_ctrl_c_while_it_starts_is_no_traceback(tmp_path: Path, seconds: float) -> None:
    running = start(
        *(URL, "--ini", an_ini(tmp_path), "--output", "out", *QUICK),
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    library = Path(f"/proc/{running.pid}/maps")
    wait_until(lambda: "_struct" in library.read_text(), limit=20)  # its own imports have begun
    time.sleep(seconds)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Aborted" not in errors
    wait_until(lambda: not left_of(tmp_path), limit=10)
