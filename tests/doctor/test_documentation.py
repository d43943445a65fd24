"""docs/doctor.md has every finding as it is, and a picture that is drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commonpool.doctor import CHECKS
from tests.doctor.helpers import doctor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "doctor.md").read_text()
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if (cells := re.findall(r" (.+?) \|", line)) and re.fullmatch(r"`[a-z][a-z-]+`", cells[0])
    if len(cells) == 5
}


def test_the_page_has_every_id_and_no_other() -> None:
    assert sorted(ROWS) == sorted(f"`{check.id}`" for check in CHECKS)
    assert f"\n{len(CHECKS)} ids." in PAGE


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_row_says_what_the_check_says(check) -> None:
    levels, sees, why, write = ROWS[f"`{check.id}`"]

    assert levels == " or ".join(level.value for level in check.levels)
    assert sees == check.sees
    assert why == check.why
    assert write.count("`") >= 2


def test_the_picture_is_that_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    drawn = doctor("--load").out.splitlines()

    links = ("nginx", "uWSGI", "pool", "engine", "database", "a request:", "an end:")
    shown = [line for line in drawn if any(f" {link} " in f"{line} " for link in links)]
    for line in shown:
        # What depends on the machine: the kernel's queue.
        known = line.partition("listen")[0].rstrip()
        assert known in PAGE


def test_readme_and_containers_lead_to_it() -> None:
    assert "(docs/doctor.md)" in (ROOT / "README.md").read_text()
    assert "(doctor.md" in (ROOT / "docs" / "containers.md").read_text()
