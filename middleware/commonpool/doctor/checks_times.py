"""Time limits, each below the next."""

from __future__ import annotations

import math
from collections.abc import Iterator

from commonpool.chain.model import Chain, Engine
from commonpool.doctor.facts import (
    READ_TIMEOUT,
    RELOAD_MERCY,
    deadline,
    deadline_in_words,
    dialect,
    directive,
    drain,
    engine_options,
    engines,
    first,
    harakiri,
    locations,
    module,
    nginx_seconds,
    number,
    place_of,
    shown,
    statement_limit,
    threads,
    variable,
)
from commonpool.doctor.findings import Level, Seen, check, fail, ok, warn

_CLOSING = 1  # second that a process takes beside its drain


@check(
    "no-harakiri",
    Level.WARN,
    why="A request that hangs keeps its thread for ever, and commonpool has no deadline to go by.",
)
def no_harakiri(chain: Chain) -> Iterator[Seen]:
    """`harakiri` is off."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    seconds = harakiri(uwsgi)
    if seconds:
        yield ok(f"harakiri = {seconds}", uwsgi.get("harakiri"), file=uwsgi.file)
    else:
        yield warn(
            "harakiri is off: nothing ends a worker process whose request hangs",
            uwsgi.get("harakiri"),
            fix="harakiri = 30",
            file=uwsgi.file,
        )


@check(
    "harakiri-threads-no-deadline",
    Level.WARN,
    why="harakiri is one timer for a worker process: where one request hangs, it kills all others "
    "of that process with it; a deadline ends the one alone.",
)
def harakiri_without_deadline(chain: Chain) -> Iterator[Seen]:
    """`harakiri` with several threads, and no deadline."""
    uwsgi = chain.uwsgi
    if uwsgi is None or not harakiri(uwsgi) or threads(uwsgi) == 1 or not chain.pool:
        return
    place = chain.pool.get("deadline")
    if math.isinf(deadline(chain)):
        yield warn(
            f"harakiri = {harakiri(uwsgi)} with {threads(uwsgi)} threads, and the deadline is "
            "switched off (COMMONPOOL_DEADLINE = inf)",
            place,
            fix=variable(chain, place, "COMMONPOOL_DEADLINE", shown(0.9 * harakiri(uwsgi)))
            + "\n(or leave it out: it is nine tenths of harakiri then)",
            file=uwsgi.file,
        )
    else:
        yield ok(f"the deadline is {deadline_in_words(chain)}", place, file=uwsgi.file)


@check(
    "deadline-not-below-harakiri",
    Level.FAIL,
    why="uWSGI kills the worker process with all its requests before the deadline can end the one "
    "that is late.",
)
def deadline_below_harakiri(chain: Chain) -> Iterator[Seen]:
    """The deadline is not below `harakiri`."""
    uwsgi = chain.uwsgi
    if uwsgi is None or not harakiri(uwsgi) or not chain.pool or math.isinf(deadline(chain)):
        return
    place, most = chain.pool.get("deadline"), harakiri(uwsgi)
    if deadline(chain) < most:
        yield ok(
            f"the deadline, {deadline_in_words(chain)}, is below harakiri, {most} s",
            place,
            file=uwsgi.file,
        )
    else:
        yield fail(
            f"the deadline is {deadline_in_words(chain)}, and harakiri {most} s",
            place,
            uwsgi.get("harakiri"),
            fix=variable(chain, place, "COMMONPOOL_DEADLINE", shown(0.9 * most)),
            file=uwsgi.file,
        )


@check(
    "no-statement-limit",
    Level.WARN,
    why="A statement whose request is gone goes on in the database, holds its locks, and costs "
    "processor time that others wait for.",
)
def no_statement_limit(chain: Chain) -> Iterator[Seen]:
    """No limit for a statement, neither the engine's nor the database's."""
    for engine in engines(chain):
        found = statement_limit(chain, engine)
        if found is None:
            continue
        seconds, place = found
        if seconds > 0:
            yield ok(
                f"statements of {engine.name} end after {shown(seconds)} s", place, place_of(engine)
            )
        else:
            most = deadline(chain)
            limit = 28 if math.isinf(most) else math.ceil(most) + 1
            yield warn(
                f"nothing ends a statement of {engine.name}: the engine sets no limit, and the "
                + ("database has none" if place.file == "database" else "database's is not known"),
                place,
                place_of(engine),
                fix=_statement_fix(engine, limit),
            )


def _statement_fix(engine: Engine, seconds: float) -> str:
    kind, thousandths = dialect(engine), round(seconds * 1000)
    for_postgresql = f'connect_args={{"options": "-c statement_timeout={thousandths}"}}'
    if kind == "postgresql":
        return engine_options(engine, for_postgresql)
    for_mariadb = f'connect_args={{"init_command": "SET max_statement_time = {shown(seconds)}"}}'
    return (
        f"{engine_options(engine, for_mariadb)}\n(MariaDB; MySQL: max_execution_time = "
        f"{thousandths}{'' if kind else '; PostgreSQL: ' + for_postgresql})"
    )


@check(
    "statement-limit-not-below-harakiri",
    Level.WARN,
    why="harakiri kills the worker process and not its statement, which goes on in the database "
    "with its locks.",
)
def statement_below_harakiri(chain: Chain) -> Iterator[Seen]:
    """The limit for a statement is not below `harakiri`."""
    uwsgi = chain.uwsgi
    if uwsgi is None or not harakiri(uwsgi):
        return
    most = harakiri(uwsgi)
    for engine in engines(chain):
        found = statement_limit(chain, engine)
        if found is None or found[0] <= 0:
            continue
        seconds, place = found
        if seconds < most:
            yield ok(
                f"statements end after {shown(seconds)} s, below harakiri, {most} s",
                place,
                place_of(engine),
            )
        else:
            last = deadline(chain)
            wanted = most - 1 if math.isinf(last) else min(most - 1, math.ceil(last) + 1)
            limit = max(wanted, 0.5)
            yield warn(
                f"a statement of {engine.name} may take {shown(seconds)} s, and harakiri is "
                f"{most} s",
                place,
                place_of(engine),
                fix=_statement_fix(engine, limit),
            )


@check(
    "read-timeout-not-above-harakiri",
    Level.FAIL,
    why="nginx gives up first: the client gets 504 for a request that goes on, and its answer is "
    "thrown away.",
)
def read_timeout(chain: Chain) -> Iterator[Seen]:
    """`uwsgi_read_timeout` is not above `harakiri`."""
    uwsgi = chain.uwsgi
    if uwsgi is None or not harakiri(uwsgi):
        return
    most = harakiri(uwsgi)
    for location in locations(chain):
        place = directive(location, "read_timeout")
        seconds = nginx_seconds(first(place)) if place else READ_TIMEOUT
        name = f"{module(location)}_read_timeout"
        if seconds is None:
            continue
        said = f"{name} is {shown(seconds)} s" + ("" if place else ", nginx's default")
        if seconds > most:
            yield ok(f"{said}, above harakiri, {most} s", place, file=location.file)
        else:
            yield fail(
                f"{said}, and harakiri {most} s (location {location.path})",
                place,
                fix=f"{name} {most + 5}s;",
                file=location.file,
            )


@check(
    "reload-mercy-not-above-drain",
    Level.WARN,
    Level.FAIL,
    why="On a reload uWSGI kills the worker processes that take longer, with their requests and "
    "their background work.",
)
def reload_mercy(chain: Chain) -> Iterator[Seen]:
    """`worker-reload-mercy` is not above the deadline, the drain and one second."""
    uwsgi, draining = chain.uwsgi, drain(chain)
    if uwsgi is None or draining is None:
        return
    place = uwsgi.get("worker-reload-mercy") or uwsgi.get("reload-mercy")
    mercy = number(place) if place else RELOAD_MERCY
    if mercy is None:
        return
    limit = deadline(chain)
    request = 0.0 if math.isinf(limit) else limit
    need = request + draining + _CLOSING
    said = f"worker-reload-mercy is {shown(mercy)} s" + ("" if place else ", the default")
    total = f"{shown(request)} + {shown(draining)} + 1 = {shown(need)} s"
    if mercy > need:
        yield ok(f"{said}, above deadline + drain + 1: {total}", place, file=uwsgi.file)
        return
    made = fail if mercy <= draining + _CLOSING else warn
    yield made(
        f"{said}; a request and the drain after it may take {total}",
        place,
        chain.pool.get("drain_timeout"),
        fix=f"worker-reload-mercy = {math.ceil(need) + 5}",
        file=uwsgi.file,
    )


@check(
    "stop-grace-below-drain",
    Level.WARN,
    why="The container is killed while it still answers requests and drains.",
)
def stop_grace(chain: Chain) -> Iterator[Seen]:
    """`stop_grace_period` is not above the deadline, the drain and one second."""
    compose, draining = chain.compose, drain(chain)
    if compose is None or draining is None or chain.uwsgi is None:
        return
    period = number(compose.stop_grace_period)
    if period is None:
        return
    limit = deadline(chain)
    request = 0.0 if math.isinf(limit) else limit
    need = request + draining + _CLOSING
    total = f"{shown(request)} + {shown(draining)} + 1 = {shown(need)} s"
    place = compose.stop_grace_period
    if period > need:
        yield ok(
            f"stop_grace_period is {shown(period)} s, above deadline + drain + 1: {total}",
            place,
            file=compose.file,
        )
    else:
        yield warn(
            f"stop_grace_period is {shown(period)} s; a request and the drain after it may take "
            f"{total}",
            place,
            fix=f"stop_grace_period: {math.ceil(need) + 5}s",
            file=compose.file,
        )


@check(
    "pool-timeout-not-below-deadline",
    Level.WARN,
    why="A request that gets no connection runs into its deadline (504) before the error comes that"
    " says what is scarce.",
)
def pool_timeout(chain: Chain) -> Iterator[Seen]:
    """The engine's `pool_timeout` is not below the deadline."""
    most = deadline(chain)
    if math.isinf(most):
        return
    for engine in engines(chain):
        place = engine.values.get("pool_timeout")
        seconds = number(place)
        if place is None or seconds is None:
            continue
        if seconds < most:
            yield ok(
                f"{engine.name} waits {shown(seconds)} s for a connection, below the deadline, "
                f"{deadline_in_words(chain)}",
                place,
                place_of(engine),
            )
        else:
            yield warn(
                f"{engine.name} waits {shown(seconds)} s for a connection"
                f"{' by default' if place.file == 'default' else ''}, and the deadline is "
                f"{deadline_in_words(chain)}",
                place,
                place_of(engine),
                fix=engine_options(engine, f"pool_timeout={max(1, min(10, math.floor(most / 2)))}"),
            )


CHECKS = (
    deadline_below_harakiri,
    read_timeout,
    reload_mercy,
    stop_grace,
    no_harakiri,
    harakiri_without_deadline,
    no_statement_limit,
    statement_below_harakiri,
    pool_timeout,
)
