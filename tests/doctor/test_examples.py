"""On each broken example exactly its finding, on each mended one none."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonpool.doctor import CHECKS
from tests.doctor.helpers import doctor

EXAMPLES = Path(__file__).parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir())

ELSEWHERE = {
    "uwsgi-threads-off": "test_facts.py::test_threads_are_off_on_an_old_uwsgi",
    "versions-known-to-break": "test_facts.py::test_versions_that_break_together",
}
"""What no file can carry: the test that shows it broken and mended."""


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_example_has_exactly_its_finding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES / name / "broken")

    said = doctor("--json")

    assert said.found == [name], said.out
    (found,) = (one for one in said.json["findings"] if one["level"] != "OK")
    assert said.status == {"WARN": 1, "FAIL": 2}[found["level"]]
    assert found["fix"]
    assert found["message"]
    assert Path(found["file"]).is_file(), "the file in which the fix belongs"
    assert not said.err


@pytest.mark.parametrize("name", NAMES)
def test_a_mended_example_has_none_and_is_told_to_be_well(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES / name / "mended")

    said = doctor("--json")

    assert said.found == []
    assert said.status == 0
    assert name in {one["id"] for one in said.json["findings"]}, "it was looked at"


def test_every_finding_has_examples_or_a_test_of_its_own() -> None:
    ids = {check.id for check in CHECKS}
    here = Path(__file__).parent

    assert set(NAMES) | set(ELSEWHERE) == ids
    assert not set(NAMES) & set(ELSEWHERE)
    for name in NAMES:
        assert {path.name for path in (EXAMPLES / name).iterdir()} == {"broken", "mended"}
    for test in ELSEWHERE.values():
        file, _, function = test.partition("::")
        assert f"def {function}(" in (here / file).read_text()


def test_ids_are_there_once() -> None:
    ids = [check.id for check in CHECKS]

    assert len(ids) == len(set(ids))
