"""The chain on one screen: each link with its limits, and the time limits in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from commonpool.chain.model import Chain, Engine
from commonpool.doctor.facts import (
    BODY_SIZE,
    BUFFER_SIZE,
    HEADER_BUFFERS,
    LISTEN,
    READ_TIMEOUT,
    RELOAD_MERCY,
    WORKER_CONNECTIONS,
    arguments,
    connections,
    deadline,
    directive,
    drain,
    engines,
    first,
    harakiri,
    in_bytes,
    is_true,
    locations,
    main_directive,
    module,
    nginx_bytes,
    nginx_seconds,
    number,
    processes,
    replicas,
    shown,
    statement_limit,
    text,
    threads,
    whole,
    workers,
)

UNKNOWN = "?"
_NAME = 8  # columns: "database"


@dataclass(frozen=True)
class Signs:
    """What the picture is drawn with."""

    node: str
    line: str
    down: str


BOXES = Signs(node="●", line="│", down="▼")
ASCII = Signs(node="*", line="|", down="v")


def picture(chain: Chain, *, width: int = 80, signs: Signs = BOXES) -> list[str]:
    """The lines of the picture, none wider than `width`; ``?`` is what was not looked at."""
    links = (
        ("client", list(_client(chain))),
        ("nginx", list(_nginx(chain))),
        ("uWSGI", list(_uwsgi(chain))),
        ("pool", list(_pool(chain))),
        ("engine", list(_engine(chain))),
        ("database", list(_database(chain))),
    )
    lines: list[str] = []
    for name, parts in links:
        is_last = name == links[-1][0]
        told = _joined(parts or [UNKNOWN], width - _NAME - 5)
        lines.append(f" {name:>{_NAME}} {signs.node} {told[0]}")
        rail = " " if is_last else signs.line
        lines += [f" {'':{_NAME}} {rail} {line}" for line in told[1:]]
        if not is_last:
            lines.append(f" {'':{_NAME}} {signs.down}")
    lines.append("")
    lines += _ladder(chain, width)
    return [line.rstrip() for line in lines]


def _joined(parts: Sequence[str], width: int) -> list[str]:
    """Parts side by side, a part in one piece where it fits."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f"   {part}"
        else:
            lines += wrap(part, width) or [""]
    return lines


def _client(chain: Chain) -> Iterator[str]:
    site = chain.site
    if site is None:
        yield UNKNOWN
    elif site.status:
        yield f"{site.url} answers {site.status} after {site.seconds:.3f} s"
    else:
        yield f"{site.url} does not answer"


def _nginx(chain: Chain) -> Iterator[str]:
    nginx = chain.nginx
    if nginx is None:
        return
    own = first(main_directive(chain, "worker_processes")) or "1"
    each = first(main_directive(chain, "worker_connections")) or str(WORKER_CONNECTIONS)
    yield f"{own} x {each} connections"
    passing = list(locations(chain))
    if not passing:
        yield "passes nothing on"
        return
    location = next((one for one in passing if one.path == "/"), passing[0])
    size = location.get("client_max_body_size")
    body = nginx_bytes(first(size)) if size else BODY_SIZE
    yield f"body {UNKNOWN if body is None else in_bytes(body) if body else 'unlimited'}"
    buffers = location.get("large_client_header_buffers")
    count, each_size = (
        arguments(buffers)[:2] if len(arguments(buffers)) > 1 else map(str, HEADER_BUFFERS)
    )
    room = nginx_bytes(each_size)
    yield f"headers {count} x {UNKNOWN if room is None else in_bytes(room)}"
    for name in ("connect", "send", "read"):
        place = directive(location, f"{name}_timeout")
        seconds = nginx_seconds(first(place)) if place else READ_TIMEOUT
        yield f"{name} {UNKNOWN if seconds is None else shown(seconds)} s"
    for what, name in (("answers", "buffering"), ("requests", "request_buffering")):
        if first(directive(location, name)) == "off":
            yield f"{what} unbuffered"
    if module(location) != "uwsgi":
        yield "by proxy_pass"
    if location.upstream:
        yield f"to {', '.join(location.upstream[:2])}"


def _uwsgi(chain: Chain) -> Iterator[str]:
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    if uwsgi.version:
        yield "version " + ".".join(map(str, uwsgi.version))
    copies = replicas(chain)
    many = f"{copies} x " if chain.compose else ""
    yield f"{many}{_count(processes(uwsgi), 'process')} x {_count(threads(uwsgi), 'thread')}"
    somaxconn = whole(chain.host.values.get("somaxconn")) if chain.host else None
    yield f"listen {uwsgi.number('listen', LISTEN)} of {somaxconn or UNKNOWN}"
    yield f"buffer {uwsgi.number('buffer-size', BUFFER_SIZE)} bytes"
    limit = uwsgi.number("limit-post")
    yield f"body {in_bytes(limit) if limit else 'unlimited'}"
    most = harakiri(uwsgi)
    yield f"harakiri {most} s" if most else "harakiri off"
    yield f"reload mercy {uwsgi.number('worker-reload-mercy', RELOAD_MERCY)} s"
    if chain.compose:
        grace = number(chain.compose.stop_grace_period)
        yield f"stop grace {UNKNOWN if grace is None else shown(grace)} s"
    recycled = uwsgi.number("max-requests")
    yield f"max-requests {recycled}" if recycled else "max-requests off"
    bound = uwsgi.number("reload-on-rss")
    if bound:
        yield f"reload at {bound} MiB"
    memory = (
        chain.compose.memory
        if chain.compose
        else (chain.host.values.get("memory") if chain.host else None)
    )
    size = number(memory)
    yield f"memory {UNKNOWN if size is None else in_bytes(size)}"
    for name, words in (("nofile", "files"), ("nproc", "processes")):
        found = number(chain.host.values.get(name)) if chain.host else None
        yield f"{words} {UNKNOWN if found is None else shown(found)}"


def _pool(chain: Chain) -> Iterator[str]:
    count = workers(chain)
    if count is None:
        return
    yield _count(count, "worker")
    queue = whole(chain.pool.get("max_queue"))
    yield f"queue {4 * count if queue is None else queue}"
    yield f"overflow {text(chain.pool.get('overflow')) or UNKNOWN}"
    seconds = deadline(chain)
    yield "no deadline" if math.isinf(seconds) else f"deadline {shown(seconds)} s"
    draining = drain(chain)
    yield f"drain {UNKNOWN if draining is None else shown(draining)} s"


def _engine(chain: Chain) -> Iterator[str]:
    application = chain.application
    if application is None:
        return
    found = application.engines
    if not found:
        yield UNKNOWN
    for engine in found[:2]:
        yield from _one_engine(chain, engine)
    if len(found) > 2:  # noqa: PLR2004 (that many have room)
        yield f"and {len(found) - 2} more"


def _one_engine(chain: Chain, engine: Engine) -> Iterator[str]:
    values = engine.values
    kind = "+".join(filter(None, (text(values.get("dialect")), text(values.get("driver")))))
    yield f"{engine.name} ({kind or UNKNOWN})" if len(engines(chain)) > 1 else kind or UNKNOWN
    size, over = (text(values.get(name)) or UNKNOWN for name in ("pool_size", "max_overflow"))
    yield f"{size} + {over} connections"
    for name, words in (("pool_timeout", "wait"), ("pool_recycle", "recycle")):
        seconds = number(values.get(name))
        off = seconds is not None and seconds < 0
        yield f"{words} {UNKNOWN if seconds is None else 'off' if off else shown(seconds) + ' s'}"
    ping = values.get("pool_pre_ping")
    yield f"pre-ping {UNKNOWN if ping is None else 'on' if is_true(ping) else 'off'}"
    limit = number(values.get("statement_seconds"))
    yield f"statement {UNKNOWN if limit is None else shown(limit) + ' s' if limit else 'unlimited'}"


def _database(chain: Chain) -> Iterator[str]:
    database = chain.database
    if database is None:
        return
    variables = database.variables
    if version := text(variables.get("version")):
        yield version[:40]
    total, most = connections(chain), whole(variables.get("max_connections"))
    needed = total.words if total else UNKNOWN
    yield f"{needed} connections of {UNKNOWN if most is None else most}"
    idle = number(variables.get("wait_timeout"))
    yield f"closes idle ones after {UNKNOWN if idle is None else shown(idle)} s"
    found = statement_limit(chain)
    if found is not None and found[0]:
        yield f"statement {shown(found[0])} s"


def _ladder(chain: Chain, width: int) -> list[str]:
    """The time limits that have to be in order, and which are not."""
    known = chain.uwsgi is not None or bool(chain.pool)
    limits = [found[0] for one in engines(chain) if (found := statement_limit(chain, one))]
    found = statement_limit(chain)
    limit = min(limits, default=found[0] if found else None)
    most = harakiri(chain.uwsgi) if chain.uwsgi else None
    reads = [
        nginx_seconds(first(place)) if (place := directive(one, "read_timeout")) else READ_TIMEOUT
        for one in locations(chain)
    ]
    steps = (
        ("deadline", deadline(chain) if known else None),
        ("statement", None if limit is None else limit or math.inf),
        ("harakiri", None if most is None else most or math.inf),
        ("nginx reads", min((read for read in reads if read is not None), default=None)),
    )
    told, before = "", None
    for name, seconds in steps:
        below = seconds is None or before is None or before < seconds or math.isinf(seconds)
        told += (" < " if below else " >= ") if told else ""
        told += f"{name} {_seconds(seconds)}"
        before = before if seconds is None or math.isinf(seconds) else seconds
    return wrap(f"time limits: {told}", width - 2, initial_indent=" ", subsequent_indent=" ")


def _seconds(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return "none" if math.isinf(value) else f"{shown(value)} s"


def _count(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    return f"{count} {what}es" if what.endswith("s") else f"{count} {what}s"
