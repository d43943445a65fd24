"""What is read of uWSGI's configuration is what uWSGI itself says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from commonpool.chain.model import Setting
from commonpool.chain.uwsgi_files import Reading
from tests.chain.uwsgi_corpus import CORPUS, ENVIRON

ROOT = Path(__file__).resolve().parents[2]
UWSGI = Path(sys.executable).parent / "uwsgi"


def lay_out(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        if ":" not in name:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return next(iter(files))


def said_by_uwsgi(
    folder: Path, given: str, variables_set: Mapping[str, str] = ENVIRON
) -> tuple[list[tuple[str, str]], dict[str, str]] | None:
    """Options and variables, in their order; `None` if it does not start."""
    option = given.partition(":")[0].rpartition(".")[2]
    variables = folder / "variables"
    done = subprocess.run(
        [
            UWSGI,
            # Before the file: one that does not end an `if` would have what comes after it.
            *("--exec-pre-jail", f"env -0 > {variables}", "--show-config", "--no-server"),
            *(f"--{option}", given),
        ],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables_set},
        capture_output=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        return None
    text = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
    shown = text.partition(";uWSGI instance configuration\n[uwsgi]\n")[2]
    lines = shown.partition(";end of configuration")[0].split("\n")[:-1]
    pairs = [(key, value) for key, _, value in (line.partition(" = ") for line in lines)]
    environ = dict(
        entry.partition("=")[::2]
        for entry in variables.read_bytes().decode("utf-8", "backslashreplace").split("\0")
    )
    assert pairs[3][0] == option
    return pairs[4:], environ


@pytest.mark.parametrize("name", CORPUS)
def test_it_is_read_as_uwsgi_reads_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = lay_out(tmp_path, CORPUS[name])
    monkeypatch.chdir(tmp_path)
    reading = Reading({key: Setting(value) for key, value in ENVIRON.items()}, None)

    reading.start(given)

    said = said_by_uwsgi(tmp_path, given)
    result = reading.result(given)
    refused = bool(reading.problems) or (result.is_on("strict") and bool(result.unknown))
    assert refused == (said is None), reading.problems
    if said is not None:
        pairs, environ = said
        assert [(option.key, option.value) for option in reading.given] == pairs
        ours = {key: str(setting.value) for key, setting in reading.environ.items()}
        assert ours == {key: value for key, value in environ.items() if "CORPUS" in key}


def test_yaml_that_uwsgi_stops_at_is_said_to_be_read_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = lay_out(
        tmp_path, {"a.yaml": "uwsgi:\n  processes: 2\n  env:\n    - A=1\n  threads: 3\n"}
    )
    monkeypatch.chdir(tmp_path)
    reading = Reading({}, None)

    reading.start(given)

    said = said_by_uwsgi(tmp_path, given)
    assert said is not None
    assert [(option.key, option.value) for option in reading.given] == said[0]
    assert [(problem.line, "lists" in problem.message) for problem in reading.problems] == [
        (3, True)
    ]


@pytest.mark.parametrize("file", ["uwsgi.ini", "stack/compare/uwsgi.ini", "stack/ways/uwsgi.ini"])
@pytest.mark.parametrize("has_folder", [True, False])
def test_the_projects_own_files_are_read_as_uwsgi_reads_them(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_folder: bool
) -> None:
    ours = {"STACK_THREADS": "5", "PORT": "0", "SOCKET": "uwsgi.sock"}
    ours |= {"STACK_RUN_DIR": str(tmp_path)} if has_folder else {}
    given = str(ROOT / file)
    monkeypatch.chdir(tmp_path)
    reading = Reading({key: Setting(value) for key, value in ours.items()}, None)

    reading.start(given)

    said = said_by_uwsgi(tmp_path, given, ours)
    assert reading.problems == []
    assert said is not None
    assert [(option.key, option.value) for option in reading.given] == said[0]
    assert reading.result(given).unknown == []
