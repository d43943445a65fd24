"""`commonpool doctor` on servers that run: the stack, and a database that does not go with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stack.container.examination import examine_start, found
from stack.container.sizes import Sizes
from stack.native.mariadb import mariadb
from stack.native.servers import run_folder
from tests.doctor.helpers import doctor

if TYPE_CHECKING:
    from stack.native.mariadb import MariaDB
    from stack.native.servers import Site

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("load", [[], ["--load"]], ids=["", "load"])
def test_there_is_no_finding_on_the_running_stack(
    site: Site, database: MariaDB, load: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("STACK_RUN_DIR", str(site.uwsgi.run))
    monkeypatch.setenv("DATABASE_URL", database.url)
    prefix = site.nginx.child.log.parents[1]
    arguments = (
        "uwsgi.ini",
        *("--nginx", prefix / "nginx" / "nginx.conf", "--url", site.nginx.url),
        *("--database", database.url, *load),
    )

    said, read = doctor(*arguments), doctor(*arguments, "--json")

    assert read.found == [], read.out
    assert said.status == 0, said.out
    assert f"{site.nginx.url}" in said.out
    assert "answers 200 after" in said.out
    assert "connections of 151" in said.out
    assert database.password not in said.out + read.out


def test_the_container_has_nothing_to_say_of_a_start_with_it(
    database: MariaDB, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"DATABASE_URL": database.url, "STACK_RUN_DIR": "/run/stack"}

    examine_start(Sizes.from_mapping(environ), environ)

    assert capsys.readouterr().err == ""


def test_a_database_that_takes_too_few_and_closes_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    options = ["--max-connections=60", "--wait-timeout=120"]
    with run_folder() as folder, run_folder() as run:
        with mariadb(folder, run, options=options) as small:
            monkeypatch.setenv("DATABASE_URL", small.url)
            said = doctor("--load", "--json", "--database", small.url)

            assert said.found == ["connections-above-max", "pool-recycle-above-wait-timeout"]
            assert said.status == 2
            assert "of 60 (max_connections) less 10" in said.out
            assert "the database closes them after 120 s (wait_timeout)" in said.out
            assert small.password not in said.out
            environ = {"DATABASE_URL": small.url, "STACK_RUN_DIR": "/run/stack"}
            (found_by_container,) = found(Sizes.from_mapping(environ), environ)
            assert found_by_container.id == "pool-recycle-above-wait-timeout"
        gone = doctor("--database", small.url)
        assert gone.status == 3
        assert gone.out.count("COULD NOT LOOK") == 1
        assert small.password not in gone.out
