"""Checks of what no small file can carry: hosts, versions, servers; and of what is not known."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from commonpool.chain.model import (
    Application,
    Chain,
    Compose,
    Database,
    Engine,
    Host,
    Nginx,
    NginxLocation,
    Setting,
    Site,
    Unreadable,
    Uwsgi,
)
from commonpool.doctor import Finding, Level, examine
from commonpool.doctor.facts import nginx_bytes, nginx_seconds
from stack.native.servers import run_folder
from tests.doctor.helpers import doctor

EXAMPLES = Path(__file__).parent / "examples"


def of(**values: object) -> dict[str, Setting]:
    return {
        name.replace("__", "-"): Setting(value, "somewhere.ini", number)
        for number, (name, value) in enumerate(values.items(), 1)
    }


def uwsgi(*, version: tuple[int, ...] | None = None, **options: object) -> Uwsgi:
    """With options of these names; `__` stands for `-`."""
    return Uwsgi(
        "uwsgi.ini", {name: [value] for name, value in of(**options).items()}, {}, version=version
    )


def engine(**values: object) -> Application:
    defaults = {
        "dialect": "mysql",
        "driver": "mysqldb",
        "pool_size": 5,
        "max_overflow": 10,
        "pool_timeout": 30.0,
        "pool_recycle": -1,
        "pool_pre_ping": False,
    }
    found = {name: Setting(value) for name, value in {**defaults, **values}.items()}
    return Application("app:app", engines=[Engine("engine", found)])


def by_id(chain: Chain, name: str) -> list[Finding]:
    return [finding for finding in examine(chain) if finding.id == name]


def levels(chain: Chain, name: str) -> set[Level]:
    return {finding.level for finding in by_id(chain, name)}


def test_threads_are_off_on_an_old_uwsgi() -> None:
    name = "uwsgi-threads-off"

    assert levels(Chain(uwsgi=uwsgi(version=(2, 0, 26))), name) == {Level.FAIL}
    assert levels(Chain(uwsgi=uwsgi(version=(2, 0, 26), threads="4")), name) == {Level.OK}
    on = uwsgi(version=(2, 0, 26), enable__threads=True)
    assert levels(Chain(uwsgi=on), name) == {Level.OK}
    assert levels(Chain(uwsgi=uwsgi(version=(2, 0, 27))), name) == {Level.OK}
    assert levels(Chain(uwsgi=uwsgi()), name) == set(), "its version is not known"


@pytest.mark.parametrize(
    ("packages", "level"),
    [
        ({"flask": "2.2.2", "werkzeug": "3.0.1"}, Level.FAIL),
        ({"flask": "2.2.2", "Werkzeug": "2.3.0"}, Level.FAIL),  # the adapter needs 2.3
        ({"Flask": "2.3.0", "Flask-SQLAlchemy": "2.5.1"}, Level.FAIL),
        ({"flask": "3.1.0", "flask_sqlalchemy": "3.1.1", "sqlalchemy": "2.0.40"}, Level.OK),
        ({"sqlalchemy": "2.0.30", "python": "3.13.1"}, Level.FAIL),
        ({"sqlalchemy": "2.0.30", "python": "3.12.9"}, Level.OK),
        ({"sqlalchemy": "2.1.0b1", "python": "3.14.0"}, Level.OK),
        ({"sqlalchemy": "1.4.54"}, Level.FAIL),
        ({"pyuwsgi": "2.0.26", "python": "3.13.0"}, Level.FAIL),
        ({"gevent": "24.2.1", "python": "3.13.0"}, Level.FAIL),
    ],
)
def test_versions_that_break_together(packages: Mapping[str, str], level: Level) -> None:
    chain = Chain(application=Application(packages=packages))

    assert levels(chain, "versions-known-to-break") == {level}


def test_of_nothing_nothing_is_said() -> None:
    assert examine(Chain()) == []


def test_what_is_not_known_is_not_guessed_at() -> None:
    chain = Chain(
        uwsgi=uwsgi(harakiri="thirty", listen="many", max__requests="$(N)"),
        application=Application(engines=[Engine("engine", {})]),
        database=Database("", {"max_connections": Setting("lots")}),
        host=Host({"somaxconn": Setting(None)}),
        nginx=Nginx("nginx.conf", {}, [NginxLocation("a", "/", {}, protocol="static")]),
        pool={"max_workers": Setting(None), "deadline": Setting("soon")},
    )

    assert {finding.id for finding in examine(chain) if finding.level is not Level.OK} == {
        "no-harakiri",
        "sigterm-kills-requests",
        "uwsgi-no-master",
        "uwsgi-no-need-app",
        "uwsgi-no-strict",
    }


def test_failures_come_first() -> None:
    found = [finding.level for finding in examine(Chain(uwsgi=uwsgi(version=(2, 0, 26))))]

    assert found == sorted(found, key=[Level.FAIL, Level.WARN, Level.OK].index)
    assert {Level.FAIL, Level.WARN, Level.OK} == set(found)


def test_the_deadline_is_nine_tenths_of_harakiri_where_none_is_set() -> None:
    pool = {"deadline": Setting(None), "drain_timeout": Setting(10.0)}
    chain = Chain(uwsgi=uwsgi(harakiri="100", threads="4", worker__reload__mercy="90"), pool=pool)

    assert levels(chain, "deadline-not-below-harakiri") == {Level.OK}
    assert levels(chain, "harakiri-threads-no-deadline") == {Level.OK}
    (mercy,) = by_id(chain, "reload-mercy-not-above-drain")
    assert mercy.level is Level.WARN
    assert "90 + 10 + 1 = 101 s" in mercy.message
    assert mercy.fix == "worker-reload-mercy = 106"


def test_mercy_below_the_drain_alone_fails() -> None:
    pool = {"deadline": Setting(5.0), "drain_timeout": Setting(30.0)}

    chain = Chain(uwsgi=uwsgi(worker__reload__mercy="31"), pool=pool)

    assert levels(chain, "reload-mercy-not-above-drain") == {Level.FAIL}


def test_an_engine_that_is_too_small_is_told_with_what_happens() -> None:
    pool = {"max_workers": Setting(24)}
    small = engine(pool_size=2, max_overflow=1)

    (found,) = by_id(
        Chain(uwsgi=uwsgi(threads="8"), pool=pool, application=small), "engine-below-threads"
    )

    assert found.level is Level.WARN
    assert "2 + 1 = 3 connections, and each process 8 request threads" in found.message
    assert "the 4th request waits, 30 s long," in found.message


@pytest.mark.parametrize(
    "values", [{"max_overflow": -1}, {"poolclass": "NullPool"}, {"pool_size": 0}]
)
def test_an_engine_without_a_limit_has_a_connection_for_each_thread(
    values: dict[str, object],
) -> None:
    chain = Chain(
        uwsgi=uwsgi(threads="8", processes="2"),
        pool={"max_workers": Setting(24)},
        application=engine(**values),
        database=Database("", {"max_connections": Setting(75)}),
    )

    assert levels(chain, "engine-below-threads") == {Level.OK}
    (found,) = by_id(chain, "connections-above-max")
    assert found.level is Level.FAIL, "2 x (8 + 24 + 1) of 75 less 10"
    assert "1 x 2 x (32 + 1) = 66" in found.message


def test_connections_are_those_of_all_replicas() -> None:
    chain = Chain(
        uwsgi=uwsgi(threads="8", processes="2"),
        pool={"max_workers": Setting(24)},
        application=engine(pool_size=24, max_overflow=8),
        database=Database("", {"max_connections": Setting(151)}),
    )
    compose = Compose("c.yml", Setting(3), None, Setting(60), {})

    assert levels(chain, "connections-above-max") == {Level.OK}
    (found,) = by_id(replace(chain, compose=compose), "connections-above-max")
    assert found.level is Level.FAIL
    assert "3 x 2 x (24 + 8 + 1) = 198 connections, of 151" in found.message
    assert found.fix.startswith("max_connections = 250\n(or at most 22 =")


def test_postgresql_needs_no_connection_for_stopping_statements() -> None:
    chain = Chain(
        uwsgi=uwsgi(),
        application=engine(dialect="postgresql", driver="psycopg"),
        database=Database("", {"max_connections": Setting(100)}),
    )

    (found,) = by_id(chain, "connections-above-max")
    assert "1 x 1 x (5 + 10) = 15" in found.message


def test_sqlite_has_no_connections_to_count() -> None:
    chain = Chain(
        uwsgi=uwsgi(threads="40"),
        application=engine(dialect="sqlite", driver="pysqlite"),
        database=Database("", {"max_connections": Setting(1)}),
    )

    assert not by_id(chain, "connections-above-max")
    assert not by_id(chain, "engine-below-threads")
    assert not by_id(chain, "no-pre-ping-no-recycle")


@pytest.mark.parametrize(("pinged", "level"), [(True, Level.WARN), (False, Level.FAIL)])
def test_recycling_too_late_is_worse_without_a_ping(*, pinged: bool, level: Level) -> None:
    chain = Chain(
        application=engine(pool_recycle=3600, pool_pre_ping=pinged),
        database=Database("", {"wait_timeout": Setting(600)}),
    )

    assert levels(chain, "pool-recycle-above-wait-timeout") == {level}


def test_the_limit_for_statements_may_be_the_databases() -> None:
    chain = Chain(
        uwsgi=uwsgi(harakiri="30"),
        application=engine(),
        database=Database("", {"max_statement_time": Setting(45.0, "database")}),
    )

    assert levels(chain, "no-statement-limit") == {Level.OK}
    assert levels(chain, "statement-limit-not-below-harakiri") == {Level.WARN}
    none = replace(chain, database=Database("", {"statement_timeout": Setting(0, "database")}))
    assert levels(none, "statement-limit-not-below-harakiri") == set()


def test_limits_of_the_kernel() -> None:
    chain = Chain(
        uwsgi=uwsgi(listen="4097", threads="8", processes="4", socket="/run/u.sock"),
        pool={"max_workers": Setting(32)},
    )
    small = Host(
        {
            "somaxconn": Setting(4096),
            "nofile": Setting(60),
            "nproc": Setting(20),
            "memory": Setting(200 << 20),
        }
    )
    names = (
        "listen-above-somaxconn",
        "open-files-too-few",
        "process-limit-too-low",
        "memory-below-threads",
    )

    assert [levels(replace(chain, host=small), name) for name in names] == [
        {Level.FAIL},
        {Level.WARN},
        {Level.FAIL},
        {Level.WARN},
    ]
    large = Host({name: Setting(10**12) for name in small.values})
    assert [levels(replace(chain, host=large), name) for name in names] == [{Level.OK}] * 4


def test_a_socket_that_uwsgi_is_given_has_a_queue_of_its_own() -> None:
    chain = Chain(
        uwsgi=uwsgi(listen="5000", socket="fd://3"), host=Host({"somaxconn": Setting(128)})
    )

    assert not by_id(chain, "listen-above-somaxconn")


def test_memory_is_what_the_stats_server_has_seen() -> None:
    seen = replace(uwsgi(processes="2"), stats={"workers": [{"rss": 700 << 20}, {"rss": 0}]})
    compose = Compose("c.yml", Setting(1), Setting(1 << 30), Setting(60), {})

    (found,) = by_id(Chain(uwsgi=seen, compose=compose), "memory-below-threads")

    assert found.level is Level.WARN
    assert "2 x 700 MiB (as the stats server says)" in found.message


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"chmod__socket": "660"}, Level.OK),
        ({"chmod__socket": "664"}, Level.OK),
        ({"chmod__socket": "666"}, Level.WARN),
        ({"chmod__socket": True}, Level.WARN),
        ({"chmod__socket": "600"}, Level.WARN),  # nginx may run as the same user
        ({"chmod__socket": "600", "chown__socket": "nginx:nginx"}, Level.OK),
        ({"umask": "007"}, Level.OK),
        ({"daemonize": "/var/log/uwsgi.log"}, Level.WARN),
        ({}, Level.WARN),
    ],
)
def test_who_may_write_to_the_socket(options: dict[str, object], level: Level) -> None:
    location = NginxLocation("a:80", "/", {}, upstream=["unix:/run/u.sock"])
    chain = Chain(
        uwsgi=uwsgi(socket="/run/u.sock", **options), nginx=Nginx("n.conf", {}, [location])
    )

    assert levels(chain, "socket-permissions") == {level}


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"uid": "app"}, Level.FAIL),
        ({"uid": "www-data"}, Level.OK),
        ({"uid": "app", "chown__socket": "www-data"}, Level.OK),
        ({"uid": "www-data", "chown__socket": "app:www-data"}, Level.FAIL),
        ({}, Level.WARN),
    ],
)
def test_a_socket_for_its_owner_alone_shuts_nginx_out_if_that_is_another(
    options: dict[str, object], level: Level
) -> None:
    location = NginxLocation("a:80", "/", {}, upstream=["unix:/run/u.sock"])
    main = {"user": [Setting(("www-data",), "n.conf", 1)]}
    chain = Chain(
        uwsgi=uwsgi(socket="/run/u.sock", chmod__socket="644", **options),
        nginx=Nginx("n.conf", main, [location]),
    )

    assert levels(chain, "socket-permissions") == {level}


@pytest.mark.parametrize(("mode", "found"), [(0o660, []), (0o666, ["socket-permissions"])])
def test_a_socket_that_is_there_has_the_mode_that_it_has(
    mode: int, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = EXAMPLES / "socket-permissions" / "mended" / "uwsgi.ini"
    with run_folder() as folder, socket.socket(socket.AF_UNIX) as listening:
        path = folder / "uwsgi.sock"
        listening.bind(str(path))
        path.chmod(mode)
        ini = good.read_text().replace("/run/app/uwsgi.sock", str(path))
        Path("uwsgi.ini").write_text(ini)

        said = doctor("--json")

    assert said.found == found
    assert f"which is there, is {mode:03o}" in said.out


def test_a_tcp_socket_has_no_mode() -> None:
    assert not by_id(Chain(uwsgi=uwsgi(socket="127.0.0.1:3031")), "socket-permissions")
    assert not by_id(Chain(uwsgi=uwsgi(socket="127.0.0.1:3031")), "uwsgi-no-vacuum")


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("127.0.0.1:1717", Level.OK),
        ("localhost:1717", Level.OK),
        ("[::1]:1717", Level.OK),
        ("/run/stats.sock", Level.OK),
        ("@stats", Level.OK),
        (":1717", Level.FAIL),
        ("0.0.0.0:1717", Level.FAIL),
        ("[::]:1717", Level.FAIL),
        ("10.0.0.3:1717", Level.FAIL),
    ],
)
def test_who_can_reach_the_stats_server(address: str, level: Level) -> None:
    assert levels(Chain(uwsgi=uwsgi(stats=address)), "stats-open") == {level}


def test_variables_that_may_stand_in_a_file_that_is_not_there_are_not_missed() -> None:
    location = NginxLocation("a:80", "/", {}, upstream=["unix:/run/u.sock"])
    chain = Chain(nginx=Nginx("n.conf", {}, [location]))
    gone = Unreadable("nginx", "n.conf", 3, "includes my_params, which is not there")

    assert levels(chain, "uwsgi-params-missing") == {Level.FAIL}
    assert not by_id(replace(chain, unreadable=[gone]), "uwsgi-params-missing")


def test_loops_and_drivers() -> None:
    name = "greenlets-with-c-driver"
    driven = engine(driver="mysqldb")
    adapted = replace(driven, adapted=Setting(value=True, file="app.py", line=1))

    asyncio = uwsgi(asyncio="20")
    assert levels(Chain(uwsgi=asyncio, application=driven), name) == {Level.FAIL}
    assert levels(Chain(uwsgi=asyncio, application=engine(driver="asyncmy")), name) == {Level.OK}
    bare = uwsgi(gevent="20")
    assert levels(Chain(uwsgi=bare, application=driven), name) == {Level.FAIL}
    assert not by_id(Chain(uwsgi=bare, application=driven), "gevent-not-patched")
    patched = uwsgi(gevent="20", gevent__monkey__patch=True)
    assert levels(Chain(uwsgi=patched, application=driven), name) == {Level.WARN}
    assert levels(Chain(uwsgi=patched, application=adapted), name) == {Level.OK}
    assert levels(Chain(uwsgi=patched, application=engine(driver="pymysql")), name) == {Level.OK}
    assert not by_id(Chain(uwsgi=uwsgi(threads="8"), application=driven), name)


def test_the_debugger_that_a_site_answers_with_is_found() -> None:
    site = Site("http://127.0.0.1:8080", 200, 0.1, {}, debugger=True)

    assert levels(Chain(site=site), "flask-debug") == {Level.FAIL}


def test_sigterm_with_and_without_a_hook() -> None:
    name = "sigterm-kills-requests"
    graceful = "unix_signal:15 gracefully_kill_them_all"

    assert levels(Chain(uwsgi=uwsgi(hook__master__start=graceful)), name) == {Level.OK}
    both = uwsgi(hook__master__start=graceful, die__on__term=True)
    assert levels(Chain(uwsgi=both), name) == {Level.OK}, "the hook counts"
    other = uwsgi(hook__master__start="print:hello", die__on__term=True)
    assert levels(Chain(uwsgi=other), name) == {Level.FAIL}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("35", 35),
        ("35s", 35),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("$t", None),
        ("", None),
    ],
)
def test_times_of_nginx(written: str, seconds: float | None) -> None:
    assert nginx_seconds(written) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [("0", 0), ("8k", 8192), ("1M", 1 << 20), ("2g", 2 << 30), ("8 k", None), ("$s", None)],
)
def test_sizes_of_nginx(written: str, size: int | None) -> None:
    assert nginx_bytes(written) == size
