"""What the command writes, and its exit status: for people, for logs, for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doctor.helpers import doctor

GOOD = """[uwsgi]
strict = true
master = true
module = app:application
processes = 2
threads = 4
enable-threads = true
single-interpreter = true
lazy-apps = true
need-app = true
vacuum = true
harakiri = 30
worker-reload-mercy = 60
hook-master-start = unix_signal:15 gracefully_kill_them_all
max-requests = 10000
http-socket = 127.0.0.1:8080
"""
WARNED = GOOD.replace("strict = true\n", "")
FAILED = WARNED.replace("master = true\n", "")
APP = "from flask import Flask\n\napplication = Flask(__name__)\n"

ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text(APP)


def write(ini: str) -> None:
    Path("uwsgi.ini").write_text(ini)


# The exit status


@pytest.mark.parametrize(("ini", "status"), [(GOOD, 0), (WARNED, 1), (FAILED, 2)])
def test_the_exit_status_is_that_of_the_worst_finding(ini: str, status: int) -> None:
    write(ini)

    assert doctor().status == status
    assert doctor("--json").status == status
    assert doctor("--quiet").status == status


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.ini"],
        ["--nginx", "missing.conf"],
        ["--compose", "missing.yml"],
        ["--database", "mysql://app:geheim@127.0.0.1:1/app"],
        ["--url", "http://127.0.0.1:1/"],
    ],
)
def test_what_was_asked_for_and_is_not_there_could_not_be_looked_at(arguments: list[str]) -> None:
    write(FAILED)

    said = doctor(*arguments)

    assert said.status == 3
    assert said.out.count("COULD NOT LOOK") == 1
    assert "Traceback" not in said.out + said.err
    assert "geheim" not in said.out + said.err
    missed = doctor(*arguments, "--json").json["could_not_look"]
    assert [set(one) for one in missed] == [{"what", "file", "line", "message"}]
    assert "geheim" not in json.dumps(missed)


def test_an_empty_folder_is_nothing_to_look_at() -> None:
    said = doctor()

    assert said.status == 3
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "no uwsgi.ini" in said.err


@pytest.mark.parametrize("arguments", [["--nonsense"], ["a.ini", "b.ini"], ["--nginx"]])
def test_what_is_typed_wrongly_is_one_line_and_no_failure_of_the_stack(
    arguments: list[str],
) -> None:
    said = doctor(*arguments)

    assert said.status == 3
    assert said.err.startswith("commonpool doctor: ")
    assert said.err.count("\n") == 1


# Which files


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("uwsgi.yaml", "uwsgi:\n  strict: true\n  module: app:application\n", "master: true"),
        (
            "uwsgi.json",
            '{"uwsgi": {"strict": true, "module": "app:application"}}',
            '"master": "true"',
        ),
    ],
)
def test_what_to_write_is_in_the_language_of_the_file(name: str, text: str, fix: str) -> None:
    Path(name).write_text(text)

    found = doctor("--json").json["findings"]

    assert found[0]["id"] == "uwsgi-no-master"
    assert (found[0]["file"], found[0]["fix"]) == (name, fix)


def test_a_folder_of_nginx_with_one_file_is_that_file() -> None:
    write(GOOD)
    Path("nginx").mkdir()
    Path("nginx/site.conf").write_text(
        "server { location / { proxy_pass http://127.0.0.1:8080; } }"
    )

    assert doctor("--json").json["read"] == ["uwsgi.ini", "nginx/site.conf"]
    assert doctor("--nginx", "nginx", "--json").json["read"] == ["uwsgi.ini", "nginx/site.conf"]


# For people


def test_where_all_is_well_one_line_says_so_and_quiet_nothing() -> None:
    write(GOOD)

    said = doctor()

    last = said.out.rstrip("\n").rpartition("\n")[2]
    assert re.fullmatch(r"No finding: \d+ checks looked, and all is well\.", last)
    assert not re.search(r"^(WARN|FAIL|OK)", said.out, re.MULTILINE)
    assert doctor("--quiet").out == ""


def test_failures_come_first_each_with_why_and_what_to_write_where() -> None:
    write(FAILED)

    said = doctor("--quiet").out

    assert said.startswith("FAIL  uwsgi-no-master\n")
    assert said.index("WARN  uwsgi-no-strict") > 0
    assert "Nobody starts a worker process again" in said
    assert "Write in uwsgi.ini:\n          master = true\n" in said
    assert said.rstrip().splitlines()[-1].startswith("1 failure and 1 warning; what else ")


def test_all_tells_what_is_well_too() -> None:
    write(FAILED)

    assert "OK    uwsgi-no-vacuum" not in doctor("--all").out  # there is no UNIX socket
    assert "OK    uwsgi-no-need-app: need-app is on" in doctor("--all").out


def test_the_files_that_were_read_are_named() -> None:
    write(GOOD)
    Path("docker-compose.yml").write_text("services: {app: {image: app}}\n")

    assert doctor().out.startswith("commonpool doctor: read uwsgi.ini, docker-compose.yml\n")
    assert doctor("--json").json["read"] == ["uwsgi.ini", "docker-compose.yml"]


def test_what_could_not_be_read_is_not_said_to_be_nor_drawn() -> None:
    said = doctor("missing.ini")

    assert said.out.startswith("commonpool doctor: read no file\n")
    assert "▼" not in said.out
    assert doctor("missing.ini", "--json").json["read"] == []


def test_the_picture_has_every_link_and_one_screen_of_80_columns() -> None:
    write(FAILED)

    lines = doctor().out.splitlines()

    assert all(len(line) <= 80 for line in lines)
    shown = lines[: lines.index("FAIL  uwsgi-no-master")]
    assert len(shown) <= 24
    for name in ("client", "nginx", "uWSGI", "pool", "engine", "database"):
        assert any(line.startswith(f" {name:>8} ") for line in shown)
    assert any("2 processes x 4 threads" in line for line in shown)
    assert any(line.endswith(" ?") for line in shown), "what was not looked at"


def test_a_stream_without_boxes_gets_a_picture_without_them() -> None:
    write(FAILED)

    plain = doctor(encoding="ascii")

    assert plain.out.isascii()
    assert plain.out.count(" * ") == 6
    assert doctor().out.count("●") == 6


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    write(FAILED)
    monkeypatch.setenv("COLUMNS", "50")

    narrow = doctor().out.splitlines()

    assert max(map(len, narrow)) <= 50
    monkeypatch.setenv("COLUMNS", "120")
    assert max(map(len, doctor().out.splitlines())) > 80


# In a terminal, and in a log


def in_a_terminal(**environ: str) -> str:
    """What the program writes into a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", closefd=True) as screen:
        program = subprocess.Popen(
            [sys.executable, "-m", "commonpool", "doctor"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"} | environ,
        )
        os.close(theirs)
        seen = b""
        try:
            while part := screen.read1(65536):
                seen += part
        except OSError:  # the other end is closed
            pass
        program.wait(30)
    return seen.decode()


def test_a_terminal_gets_colours_unless_told_otherwise() -> None:
    write(FAILED)

    coloured, plain = in_a_terminal(), in_a_terminal(NO_COLOR="1")

    assert f"{ESCAPE}[1;31mFAIL" in coloured
    assert ESCAPE not in plain
    assert re.sub(rf"{ESCAPE}\[[\d;]*m", "", coloured) == plain


def test_a_log_gets_plain_lines() -> None:
    write(FAILED)

    done = subprocess.run(
        [sys.executable, "-m", "commonpool", "doctor"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == ""
    assert ESCAPE not in done.stdout
    assert "\r" not in done.stdout
    assert done.stdout == doctor().out


# For programs


def test_the_json_has_its_shape() -> None:
    write(FAILED)

    document = doctor("--json").json

    assert set(document) == {"findings", "read", "could_not_look"}
    assert document["could_not_look"] == []
    for finding in document["findings"]:
        assert set(finding) == {"id", "level", "file", "line", "message", "fix"}
        assert finding["level"] in {"OK", "WARN", "FAIL"}
        assert isinstance(finding["line"], int)
        assert bool(finding["fix"]) is (finding["level"] != "OK")
    assert document["findings"][0]["id"] == "uwsgi-no-master"


# Hostile input


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02",
        b"\xff\xfe[uwsgi]",
        b"[uwsgi]\n" * 10_000,
        b"[uwsgi]\nini = uwsgi.ini\n",
    ],
)
def test_any_bytes_as_a_configuration_are_no_traceback(content: bytes) -> None:
    for name in ("uwsgi.ini", "docker-compose.yml"):
        Path(name).write_bytes(content)
    Path("nginx").mkdir()
    Path("nginx/nginx.conf").write_bytes(content)

    said = doctor()

    assert said.status in {1, 2, 3}
    assert "Traceback" not in said.out + said.err


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    write(FAILED + f"stats = 0.0.0.0{ESCAPE}[2J:99\nmax-requests = 1\n")

    said = doctor()

    assert ESCAPE not in said.out
    assert said.status == 2


def test_no_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://app:hunter2222@db/app")
    monkeypatch.setenv("APP_SECRET", "correcthorse")
    write(
        FAILED
        + "env = DATABASE_URL=mysql://app:inside22@db/app\n"
        + "env = FLASK_DEBUG=1\n"
        + "stats = correcthorse:99\n"
    )

    for arguments in (
        [],
        ["--json"],
        ["--all"],
        ["--database", "mysql://u:s%40cret1@127.0.0.1:1/x"],
    ):
        said = doctor(*arguments)
        for secret in ("hunter2222", "correcthorse", "inside22", "s%40cret1", "s@cret1"):
            assert secret not in said.out + said.err


# The program


def test_the_help_needs_no_other_commands_packages() -> None:
    program = (
        "import sys\n"
        "for name in ('aiohttp', 'optuna', 'ciw', 'matplotlib', 'jinja2', 'psutil'):\n"
        "    sys.modules[name] = None\n"
        "from commonpool.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for command in ("doctor", "tune", "plan"):
        assert f"\n  {command} " in done.stdout


def test_a_command_whose_packages_are_missing_says_how_to_install_them() -> None:
    program = (
        "import sys\n"
        "sys.modules['rich'] = None\n"
        "sys.modules['rich.console'] = None\n"
        "from commonpool.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "pip install 'commonpool[doctor]'" in done.stderr


def test_what_is_here_is_not_mixed_with_files_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    for folder in (elsewhere, here):
        folder.mkdir()
    (elsewhere / "site.ini").write_text("[uwsgi]\nmaster = true\n")
    (here / "docker-compose.yml").write_text("services:\n  web:\n    image: uwsgi\n")
    (here / "site.ini").write_text("[uwsgi]\nmaster = true\n")
    monkeypatch.chdir(here)

    assert doctor("../elsewhere/site.ini", "--json").json["read"] == ["../elsewhere/site.ini"]
    assert doctor("site.ini", "--json").json["read"] == ["site.ini", "docker-compose.yml"]


PROGRAM = f"{sys.executable} -m commonpool doctor"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{PROGRAM} >&-", 2),
        (f"{PROGRAM} >/dev/full", 3),
        (f"{PROGRAM} | head -1; exit ${{PIPESTATUS[0]}}", 2),
        (f"mkdir gone; cd gone; rmdir ../gone; {PROGRAM}", 3),
    ],
)
def test_where_nothing_can_be_written_or_read_the_exit_status_is_true(
    line: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app\n")

    ended = subprocess.run(
        ["/bin/bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ended.returncode == status
    assert "Traceback" not in ended.stderr
