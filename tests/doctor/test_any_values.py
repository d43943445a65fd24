"""Whatever the values are: a check answers, and the picture is drawn in its width."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    Uwsgi,
)
from commonpool.doctor import examine
from commonpool.doctor.picture import picture
from commonpool.doctor.report import lines

TEXTS = st.sampled_from(
    (
        *("", "0", "-1", "1", "60", "1e400", "nan", "inf", "9" * 20, "on", "off", "auto", "$x"),
        *("1k", "30s", "1m30s", "/run/a.sock", "127.0.0.1:1", ":1", "0.0.0.0:9", "666", "fd://3"),
        *("gevent", "mysqldb", "mysql", "sqlite", "NullPool", "QueuePool", "reject"),
        "non_idempotent",
    )
)
VALUES = st.one_of(TEXTS, st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=5))
SETTINGS = st.builds(
    Setting,
    VALUES,
    st.sampled_from(["default", "environment", "a.ini", "b.yml", "c.py", "/proc/x", "application"]),
    st.integers(0, 9),
    TEXTS,
)


def named(*names: str) -> st.SearchStrategy[dict[str, Setting]]:
    return st.dictionaries(st.sampled_from(names), SETTINGS, max_size=len(names))


OPTIONS = named(
    *("processes", "threads", "harakiri", "listen", "buffer-size", "limit-post", "max-requests"),
    *("socket", "chmod-socket", "umask", "stats", "reload-on-rss", "max-fd", "limit-nproc"),
    *("gevent", "asyncio", "gevent-monkey-patch", "lazy-apps", "master", "mount", "module"),
    *("max-worker-lifetime", "worker-reload-mercy", "hook-master-start", "die-on-term", "strict"),
).map(lambda found: {name: [setting] for name, setting in found.items()})
DIRECTIVES = st.dictionaries(
    st.sampled_from(
        (
            *("uwsgi_read_timeout", "uwsgi_next_upstream", "uwsgi_buffering", "uwsgi_param"),
            *("client_max_body_size", "large_client_header_buffers"),
            *("worker_connections", "worker_processes"),
        )
    ),
    st.lists(
        st.builds(Setting, st.lists(TEXTS, max_size=3).map(tuple), st.just("n.conf")), max_size=2
    ),
)
ENGINES = st.builds(
    Engine,
    st.just("engine"),
    named(
        *("pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping", "driver"),
        *("dialect", "poolclass", "statement_seconds", "connections"),
    ),
    st.none() | SETTINGS,
)
LOCATIONS = st.builds(
    NginxLocation,
    st.just("a:80"),
    st.just("/"),
    DIRECTIVES,
    st.just(["unix:/run/a.sock"]),
    st.sampled_from(["uwsgi", "http", "static"]),
    st.just("n.conf"),
)
CHAINS: st.SearchStrategy[Any] = st.builds(
    Chain,
    uwsgi=st.none()
    | st.builds(
        Uwsgi,
        st.just("a.ini"),
        OPTIONS,
        st.just({}),
        st.sampled_from([None, (2, 0, 26), (2, 0, 31)]),
        unknown=st.lists(SETTINGS, max_size=2),
    ),
    nginx=st.none()
    | st.builds(Nginx, st.just("n.conf"), DIRECTIVES, st.lists(LOCATIONS, max_size=2)),
    pool=named("max_workers", "max_queue", "overflow", "deadline", "drain_timeout"),
    application=st.none()
    | st.builds(
        Application,
        engines=st.lists(ENGINES, max_size=3),
        pool_made_at_import=st.none() | SETTINGS,
        debug=st.none() | SETTINGS,
        reloader=st.none() | SETTINGS,
        loop=st.none() | SETTINGS,
        packages=st.dictionaries(st.sampled_from(["flask", "sqlalchemy", "python"]), TEXTS),
    ),
    database=st.none()
    | st.builds(
        Database, st.just(""), named("max_connections", "wait_timeout", "max_statement_time")
    ),
    host=st.none() | st.builds(Host, named("somaxconn", "nofile", "nproc", "memory", "cpus")),
    compose=st.none()
    | st.builds(Compose, st.just("b.yml"), SETTINGS, st.none() | SETTINGS, SETTINGS, st.just({})),
    site=st.none()
    | st.builds(Site, st.just("http://a"), st.sampled_from([0, 200]), st.just(0.1), st.just({})),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(CHAINS, st.integers(40, 120))
def test_every_chain_is_examined_and_drawn(chain: Chain, width: int) -> None:
    findings = examine(chain)

    assert all(finding.message for finding in findings)
    drawn = [*picture(chain, width=width)]
    drawn += [line for line, _ in lines(findings, (), width=width, every=True)]
    assert max(map(len, drawn)) <= width
