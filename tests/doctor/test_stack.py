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


def test_what_is_loaded_is_the_whole_sum() -> None:
    said = doctor("--load")

    assert "1 x 2 x (24 + 8 + 1) = 66 connections of 300" in said.out
    assert "mysql+mysqldb" in said.out
    assert "24 + 8 connections" in said.out
    assert said.out.count("?") <= 5, "what only a running site, or its database, tells"


def test_a_setting_that_is_too_large_is_seen_in_the_compose_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STACK_REPLICAS", "5")

    said = doctor("--load", "--json")

    assert said.found == ["connections-above-max"]
    assert "5 x 2 x (24 + 8 + 1) = 330 connections, of 300" in said.out
    assert said.status == 2


def test_the_picture_of_the_stack_is_one_screen() -> None:
    said = doctor("--load").out.splitlines()

    assert len(said) - 4 <= 24, "without what was read, and what was found"
    assert max(map(len, said)) <= 80
