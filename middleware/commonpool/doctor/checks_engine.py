"""The engine's connections, and the database's room for them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from commonpool.chain.model import Chain, Setting
from commonpool.doctor.facts import (
    RESERVE,
    capacity,
    capacity_in_words,
    connections,
    engine_options,
    engines,
    is_true,
    number,
    place_of,
    replicas,
    shown,
    text,
    threads,
    whole,
    workers,
)
from commonpool.doctor.findings import Level, Seen, check, fail, is_file, ok, warn

IN_C = {"mysqldb", "psycopg2", "mariadbconnector", "pyodbc", "cx_oracle", "oracledb", "pymssql"}
"""Drivers that wait in C, where neither gevent nor an event loop sees it."""

_SEEN_ALONE = (
    "; commonpool replaces connections that were opened in the master, but none that were before "
    "it was imported"
)
_MARGIN = 20  # seconds below wait_timeout


@check(
    "engine-in-master",
    Level.WARN,
    Level.FAIL,
    why="A connection that is opened while the master imports the application is the same socket in"
    " every worker process, and answers of one get into another.",
)
def engine_in_master(chain: Chain) -> Iterator[Seen]:
    """An engine is made in the master, without `lazy-apps`."""
    uwsgi, application = chain.uwsgi, chain.application
    if uwsgi is None or application is None:
        return
    for engine in application.engines:
        place = engine.made_at_import
        if place is None:
            continue
        if uwsgi.is_on("lazy-apps") or not uwsgi.is_on("master"):
            yield ok(f"{engine.name} is made in each worker process", place, file=uwsgi.file)
            continue
        opened = whole(engine.values.get("connections")) or 0
        made = fail if opened else warn
        yield made(
            f"{engine.name} is made when the application is imported{_at(place)}, which without "
            "lazy-apps happens in the master"
            + (f"; it has {opened} open connections then" if opened else "")
            + (_SEEN_ALONE if application.adapted else ""),
            uwsgi.get("lazy-apps"),
            fix="lazy-apps = true",
            file=uwsgi.file,
        )


@check(
    "pool-in-master",
    Level.FAIL,
    why="Threads do not live on in a process that is forked: a pool that was used in the master "
    "has none in the worker processes, and its first task there never runs. (commonpool's makes "
    "them anew.)",
)
def pool_in_master(chain: Chain) -> Iterator[Seen]:
    """An executor of the standard library is used in the master, without `lazy-apps`."""
    uwsgi, application = chain.uwsgi, chain.application
    if uwsgi is None or application is None:
        return
    place = application.pool_made_at_import
    if place is None:
        yield ok("no pool is warmed when the application is imported", file=uwsgi.file)
    elif place.value != "executor":
        yield ok("the pool that is warmed is commonpool's, which knows forks", place)
    elif uwsgi.is_on("lazy-apps") or not uwsgi.is_on("master"):
        yield ok("the pool is warmed in each worker process", place)
    else:
        yield fail(
            f"an executor is used when the application is imported{_at(place)}, which without "
            "lazy-apps happens in the master",
            uwsgi.get("lazy-apps"),
            fix="lazy-apps = true",
            file=uwsgi.file,
        )


@check(
    "pool-before-greenlets",
    Level.WARN,
    why="Its threads are there before gevent's greenlets: tasks run on threads that wait for each "
    "other in gevent's locks.",
)
def pool_before_greenlets(chain: Chain) -> Iterator[Seen]:
    """The pool is used at import; `gevent-monkey-patch` with `lazy-apps` patches later."""
    uwsgi, application = chain.uwsgi, chain.application
    if uwsgi is None or application is None or not uwsgi.is_on("gevent"):
        return
    place = application.pool_made_at_import
    late = (
        uwsgi.is_on("gevent-monkey-patch")
        and not uwsgi.is_on("gevent-early-monkey-patch")
        and uwsgi.is_on("lazy-apps")
    )
    if place is None or not late:
        yield ok("the pool is not used before gevent has patched", file=uwsgi.file)
    else:
        yield warn(
            f"the pool is used when the application is imported{_at(place)}, and "
            "gevent-monkey-patch with lazy-apps patches after that",
            uwsgi.get("gevent-monkey-patch"),
            fix="gevent-early-monkey-patch = true",
            file=uwsgi.file,
        )


def _at(place: Setting) -> str:
    return f" ({place.file}:{place.line})" if is_file(place) and place.line else ""


@check(
    "greenlets-with-c-driver",
    Level.WARN,
    Level.FAIL,
    why="The driver waits where the loop does not see it: one query stops all other requests of "
    "its process.",
)
def greenlets_with_c_driver(chain: Chain) -> Iterator[Seen]:
    """Greenlets or an asyncio loop serve requests, and the database's driver is written in C."""
    uwsgi, application = chain.uwsgi, chain.application
    loop = _loop(chain)
    if loop is None or application is None:
        return
    name, place = loop
    patched = uwsgi is not None and any(
        uwsgi.is_on(option) for option in ("gevent-early-monkey-patch", "gevent-monkey-patch")
    )
    for engine in engines(chain):
        driver = text(engine.values.get("driver"))
        if driver not in IN_C:
            if driver:
                yield ok(f"{driver} waits as {name} does", place)
        elif name == "gevent" and patched and application.adapted is not None:
            yield ok(f"commonpool makes the calls of {driver} on native threads", place)
        elif name == "gevent" and patched:
            yield warn(
                f"gevent serves requests, and {engine.name} uses {driver}, which is written in C",
                place_of(engine),
                place,
                fix="import commonpool.ext.sqlalchemy\n(its calls are made on native threads then; "
                f"or {_python_driver(driver)}, which is written in Python)",
            )
        elif name == "gevent":
            yield fail(
                f"gevent serves requests, nothing is patched for it, and {engine.name} uses "
                f"{driver}, which is written in C",
                place,
                fix="gevent-early-monkey-patch = true",
            )
        else:
            yield fail(
                f"an {name} loop serves requests, and {engine.name} uses {driver}, which is "
                "written in C",
                place,
                place_of(engine),
                fix="threads = 8\n(in the place of the loop)",
            )


def _loop(chain: Chain) -> tuple[str, Setting | None] | None:
    uwsgi, application = chain.uwsgi, chain.application
    if uwsgi is not None:
        for option in ("gevent", "asyncio"):
            if uwsgi.is_on(option):
                return option, uwsgi.get(option)
    if application is not None and application.loop is not None:
        return str(application.loop.value), application.loop
    return None


def _python_driver(driver: str) -> str:
    return "pymysql" if driver in {"mysqldb", "mariadbconnector"} else "psycopg"


@check(
    "gevent-not-patched",
    Level.FAIL,
    why="A request that waits for the pool, or for anything, stops all others of its process.",
)
def gevent_not_patched(chain: Chain) -> Iterator[Seen]:
    """Greenlets of uWSGI's gevent serve requests, and nothing is patched for them."""
    uwsgi = chain.uwsgi
    if uwsgi is None or not uwsgi.is_on("gevent"):
        return
    if any(uwsgi.is_on(name) for name in ("gevent-early-monkey-patch", "gevent-monkey-patch")):
        yield ok("the standard library is patched for gevent", uwsgi.get("gevent"))
    elif not any(text(engine.values.get("driver")) in IN_C for engine in engines(chain)):
        # else greenlets-with-c-driver says so, too
        yield fail(
            "gevent serves requests, and the standard library is not patched for it",
            uwsgi.get("gevent"),
            fix="gevent-early-monkey-patch = true",
            file=uwsgi.file,
        )


@check(
    "engine-below-threads",
    Level.WARN,
    why="While all connections are out, a request waits for one up to pool_timeout, and fails then "
    "(500), whatever the pool's workers do.",
)
def engine_below_threads(chain: Chain) -> Iterator[Seen]:
    """The engine has fewer connections than a process has request threads."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    for engine in engines(chain):
        most, need = capacity(engine), threads(uwsgi)
        if most is None:
            continue
        if math.isinf(most):
            yield ok(f"{engine.name} opens as many connections as are asked for", place_of(engine))
            continue
        if most >= need:
            yield ok(
                f"{engine.name} has {shown(most)} connections for {need} request threads",
                engine.values.get("pool_size"),
                place_of(engine),
            )
            continue
        seconds = number(engine.values.get("pool_timeout"))
        waits = "" if seconds is None else f", {shown(seconds)} s long,"
        busy = workers(chain) or 0
        yield warn(
            f"{engine.name} has {capacity_in_words(engine)} = {shown(most)} connections, and each "
            f"process {need} request threads: the {_ordinal(int(most) + 1)} request waits{waits} "
            "for one of the others to end",
            engine.values.get("pool_size"),
            engine.values.get("max_overflow"),
            place_of(engine),
            fix=engine_options(engine, f"pool_size={busy or need}, max_overflow={need}")
            + f"\n(request threads + workers: {need} + {busy} can then run at once)",
        )


def _ordinal(count: int) -> str:
    teen = 10 < count % 100 < 20  # noqa: PLR2004
    return f"{count}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"


@check(
    "connections-above-max",
    Level.FAIL,
    why="Under load the database refuses connections ('Too many connections'), and those requests "
    "fail.",
)
def connections_above_max(chain: Chain) -> Iterator[Seen]:
    """All processes of all replicas may open more connections than the database takes."""
    total, database = connections(chain), chain.database
    if total is None or database is None or chain.uwsgi is None:
        return
    place = database.variables.get("max_connections")
    most = whole(place)
    if place is None or not most:
        return
    room = most - RESERVE
    said = f"{total.words} connections, of {most} (max_connections) less {RESERVE} for others"
    by_hand = next((place_of(engine) for engine in engines(chain)), None)
    if total.total <= room:
        yield ok(f"{total.words} connections have room in {most} (max_connections)", place, by_hand)
        return
    fewer = room // (replicas(chain) * max(1, chain.uwsgi.number("processes", 1))) - 1
    enough = math.ceil((total.total + RESERVE) / 50) * 50
    in_compose = place.file.endswith((".yml", ".yaml"))
    yield fail(
        f"replicas x processes x connections: {said}",
        place,
        by_hand if in_compose else None,
        fix=(f"--max-connections={enough}" if in_compose else f"max_connections = {enough}")
        + (f"\n(or at most {fewer} = pool_size + max_overflow)" if fewer > 0 else ""),
    )


@check(
    "pool-recycle-above-wait-timeout",
    Level.WARN,
    Level.FAIL,
    why="The database closes idle connections before the engine replaces them: the first requests "
    "after a quiet hour get 'server has gone away'.",
)
def recycle_above_wait_timeout(chain: Chain) -> Iterator[Seen]:
    """`pool_recycle` is not below the database's `wait_timeout`."""
    database = chain.database
    if database is None:
        return
    limit = whole(database.variables.get("wait_timeout"))
    if not limit:
        return
    for engine in engines(chain):
        place = engine.values.get("pool_recycle")
        seconds = number(place)
        if seconds is None or seconds < 0:
            continue
        if seconds < limit:
            yield ok(
                f"{engine.name} replaces connections after {shown(seconds)} s, below wait_timeout, "
                f"{limit} s",
                place,
                place_of(engine),
            )
            continue
        pinged = is_true(engine.values.get("pool_pre_ping"))
        made = warn if pinged else fail
        yield made(
            f"{engine.name} replaces connections after {shown(seconds)} s, the database closes "
            f"them after {limit} s (wait_timeout)"
            + ("; pool_pre_ping finds out, each time" if pinged else ", and nothing finds out"),
            place,
            place_of(engine),
            fix=engine_options(
                engine,
                f"pool_recycle={max(1, limit - min(_MARGIN, limit // 2))}, pool_pre_ping=True",
            ),
        )


@check(
    "no-pre-ping-no-recycle",
    Level.WARN,
    why="A connection that the database, or a firewall on the way, has closed meanwhile fails the "
    "request that gets it.",
)
def no_pre_ping_no_recycle(chain: Chain) -> Iterator[Seen]:
    """Neither `pool_pre_ping` nor `pool_recycle`."""
    for engine in engines(chain):
        ping, recycle = (engine.values.get(name) for name in ("pool_pre_ping", "pool_recycle"))
        if (ping is None and recycle is None) or not math.isfinite(capacity(engine) or 0):
            continue
        seconds = number(recycle)
        if is_true(ping) or (seconds is not None and seconds >= 0):
            how = (
                "asks before each use whether a connection lives"
                if is_true(ping)
                else f"replaces connections after {seconds:g} s"
            )
            yield ok(f"{engine.name} {how}", ping, recycle)
        else:
            yield warn(
                f"{engine.name} neither asks whether a connection still lives (pool_pre_ping) nor "
                "replaces old ones (pool_recycle)",
                ping,
                recycle,
                place_of(engine),
                fix=engine_options(engine, "pool_pre_ping=True, pool_recycle=280"),
            )


CHECKS = (
    connections_above_max,
    greenlets_with_c_driver,
    gevent_not_patched,
    engine_in_master,
    pool_in_master,
    pool_before_greenlets,
    engine_below_threads,
    recycle_above_wait_timeout,
    no_pre_ping_no_recycle,
)
