"""The recommended sizes as a change of the user's files, whatever those look like."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commonpool import PoolConfig
from commonpool.chain.measured import Sizes
from commonpool.tune import configuration, edits
from commonpool.tune.errors import TuneError

FOUND = Sizes(2, 8, 24, 32)

PLAIN = """\
; ours
[uwsgi]
processes = 1
threads=1
; threads = 99
env = COMMONPOOL_MAX_WORKERS=2
env = POOL=2
harakiri = 30
"""


def changed(ini: Path, **outside: str) -> edits.Change:
    return edits.change(ini, FOUND, outside, "POOL")


def after(change: edits.Change, path: Path) -> str:
    return change.files[path][1].decode()


def check_uwsgi_reads_it(ini: Path, folder: Path, **outside: str) -> None:
    told = configuration.ask(configuration.find_program(), ini, folder, outside)
    assert told.sizes(outside, "POOL") == FOUND


def test_lines_are_edited_where_they_stand(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(PLAIN)
    change = changed(ini)
    assert after(change, ini) == (
        PLAIN.replace("processes = 1", "processes = 2")
        .replace("threads=1", "threads=8")
        .replace("WORKERS=2", "WORKERS=24")
        .replace("POOL=2", "POOL=32")
    )
    assert not change.notes
    change.apply()
    check_uwsgi_reads_it(ini, tmp_path)


def test_the_diff_is_one_that_patch_takes(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_bytes(PLAIN.replace("\n", "\r\n").encode().rstrip())  # and no end of the last line
    change = changed(ini)
    diff = tmp_path / "a.diff"
    diff.write_text(change.diff(), newline="")
    done = subprocess.run(
        ["patch", "--binary", str(ini), str(diff)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ini.read_bytes() == change.files[ini][1]


def test_ends_of_lines_and_bytes_that_are_no_text_stay(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_bytes(b"; caf\xe9\r\n[uwsgi]\r\nprocesses = 1\r\nthreads = 1\r\n")
    change = changed(ini)
    assert change.files[ini][1] == (
        b"; caf\xe9\r\n[uwsgi]\r\nenv = COMMONPOOL_MAX_WORKERS=24\r\nenv = POOL=32\r\n"
        b"processes = 2\r\nthreads = 8\r\n"
    )


def test_a_placeholder_is_edited_where_it_is_given_its_value(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(
        "[uwsgi]\nif-not-env = T\nset-placeholder = t=1\nendif =\nif-env = T\n"
        "set-placeholder = t=%(_)\nendif =\nset-placeholder = p=1\nprocesses = %(p)\n"
        "threads = %(t)\nenv = COMMONPOOL_MAX_WORKERS=2\nenv = POOL=2\n"
    )
    change = changed(ini)
    text = after(change, ini)
    assert "set-placeholder = t=8\n" in text
    assert "set-placeholder = p=2\n" in text
    assert "threads = %(t)\n" in text
    change.apply()
    check_uwsgi_reads_it(ini, tmp_path)


def test_what_is_missing_is_added_behind_the_head_of_the_section(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text("; first\n[other]\nprocesses = 5\n[uwsgi]\nmaster = true\n")
    change = changed(ini)
    assert after(change, ini) == (
        "; first\n[other]\nprocesses = 5\n[uwsgi]\nenv = COMMONPOOL_MAX_WORKERS=24\n"
        "env = POOL=32\nprocesses = 2\nthreads = 8\nmaster = true\n"
    )
    change.apply()
    check_uwsgi_reads_it(ini, tmp_path)


def test_an_option_in_an_included_file_is_edited_there_and_said(tmp_path: Path) -> None:
    inner = tmp_path / "inner.ini"
    inner.write_text("[uwsgi]\nthreads = 1\nenv = POOL=2\n")
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(f"[uwsgi]\nprocesses = 1\nenv = COMMONPOOL_MAX_WORKERS=2\nini = {inner}\n")
    change = changed(ini)
    assert set(change.files) == {ini, inner}
    assert after(change, inner) == "[uwsgi]\nthreads = 8\nenv = POOL=32\n"
    assert change.notes == [f"A setting stands in {inner}, which {ini} includes."]
    change.apply()
    check_uwsgi_reads_it(ini, tmp_path)


def test_of_two_lines_the_one_that_counts_is_edited(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text("[uwsgi]\nthreads = 4\nprocesses = 1\nthreads = 1\nworkers = 1\n")
    text = after(changed(ini), ini)
    assert text.endswith("threads = 4\nprocesses = 1\nthreads = 8\nworkers = 2\n")


def test_what_the_environment_sets_is_for_whoever_sets_it(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(
        "[uwsgi]\nprocesses = 2\nthreads = 8\nif-not-env = POOL\nenv = POOL=2\nendif =\n"
    )
    change = changed(ini, POOL="5", COMMONPOOL_MAX_WORKERS="24")
    assert not change.files
    assert change.notes == [
        "The environment in which uWSGI is started sets POOL=5: set it to 32 there."
    ]


def test_a_value_from_the_environment_is_not_edited(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(
        "[uwsgi]\nprocesses = 2\nthreads = $(HOW_MANY)\nenv = COMMONPOOL_MAX_WORKERS=24\n"
        "env = POOL=32\n"
    )
    change = changed(ini, HOW_MANY="3")
    assert after(change, ini).splitlines()[2] == "threads = 8"


def test_nothing_to_change_is_no_diff(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(
        "[uwsgi]\nprocesses = 2\nthreads = 8\nenv = COMMONPOOL_MAX_WORKERS=24\nenv = POOL=32\n"
    )
    change = changed(ini)
    assert not change.files
    assert not change.diff()


def test_other_formats_are_edited_too_but_nothing_is_added_to_them(tmp_path: Path) -> None:
    yaml = tmp_path / "uwsgi.yaml"
    yaml.write_text("uwsgi:\n  processes: 1\n  threads: 1\n  env: COMMONPOOL_MAX_WORKERS=2\n")
    change = changed(yaml)
    assert after(change, yaml) == (
        "uwsgi:\n  processes: 2\n  threads: 8\n  env: COMMONPOOL_MAX_WORKERS=24\n"
    )
    assert change.notes == [f"Add to {yaml}, as its format has it: env = POOL=32."]


def test_copies_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(PLAIN)
    ini.chmod(0o640)
    (tmp_path / "uwsgi.ini.before-tune").write_text("older\n")
    copies = changed(ini).apply()
    assert copies == [tmp_path / "uwsgi.ini.before-tune.2"]
    assert copies[0].read_text() == PLAIN
    assert (tmp_path / "uwsgi.ini.before-tune").read_text() == "older\n"
    assert ini.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "uwsgi.ini",
        "uwsgi.ini.before-tune",
        "uwsgi.ini.before-tune.2",
    ]


def test_a_file_that_has_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(PLAIN)
    change = changed(ini)
    ini.write_text(PLAIN + "; mine\n")
    with pytest.raises(TuneError, match="has changed meanwhile, so nothing was written"):
        change.apply()
    assert ini.read_text() == PLAIN + "; mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["uwsgi.ini"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "real.ini"
    real.write_text(PLAIN)
    ini = tmp_path / "uwsgi.ini"
    ini.symlink_to(real)
    changed(ini).apply()
    assert ini.is_symlink()
    assert "threads=8" in real.read_text()


def test_what_is_the_pools_default_need_not_be_written(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text("[uwsgi]\nprocesses = 1\nthreads = 8\n")
    sizes = Sizes(2, 8, PoolConfig().max_workers)
    edits.change(ini, sizes, {}, None).apply()
    assert ini.read_text() == "[uwsgi]\nprocesses = 2\nthreads = 8\n"


def test_a_file_that_nobody_is_to_write_is_not_replaced(tmp_path: Path) -> None:
    ini = tmp_path / "uwsgi.ini"
    ini.write_text(PLAIN)
    ini.chmod(0o444)
    with pytest.raises(TuneError, match="is read-only, so nothing was written"):
        changed(ini).apply()
    assert [path.name for path in tmp_path.iterdir()] == ["uwsgi.ini"]
    assert ini.read_text() == PLAIN
