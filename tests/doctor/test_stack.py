"""On the stack's own files there is no finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.helpers import doctor

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("APP_IMAGE", "NGINX_IMAGE"):
        monkeypatch.setenv(name, "image")


@pytest.mark.parametrize("compose", ["docker-compose.yml", "stack/deploy/swarm.yml"])
@pytest.mark.parametrize("load", [[], ["--load"]], ids=["", "load"])
def test_there_is_no_finding(compose: str, load: list[str]) -> None:
    said = doctor("uwsgi.ini", "--nginx", "nginx", "--compose", compose, *load, "--json")

    assert said.found == [], said.out
    assert said.json["could_not_look"] == []
    assert said.status == 0


def test_the_example_for_uwsgi_has_none_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "servers.md").read_text()
    monkeypatch.chdir(tmp_path)
    Path("uwsgi.ini").write_text(page.partition("```ini\n")[2].partition("```")[0])

    said = doctor("--json")

    assert said.found == []
    assert said.status == 0


def test_the_picture_of_what_is_loaded_is_one_screen_with_the_whole_sum() -> None:
    said = doctor("--load").out

    assert "1 x 2 x (24 + 8 + 1) = 66 connections of 300" in said
    assert "mysql+mysqldb" in said
    assert "24 + 8 connections" in said
    assert said.count("?") <= 5, "what only a running site, or its database, tells"
    lines = said.splitlines()
    assert len(lines) - 4 <= 24, "without what was read, and what was found"
    assert max(map(len, lines)) <= 80


def test_a_setting_that_is_too_large_is_seen_in_the_compose_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STACK_REPLICAS", "5")

    said = doctor("--load", "--json")

    assert said.found == ["connections-above-max"]
    assert "5 x 2 x (24 + 8 + 1) = 330 connections, of 300" in said.out
    assert said.status == 2
