"""The chain on one screen: each link with its limits, and the time limits in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from commonpool.chain.model import Chain, Engine, NginxLocation
from commonpool.doctor.facts import (
    BODY_SIZE,
    BUFFER_SIZE,
    HEADER_BUFFERS,
    LISTEN,
    READ_TIMEOUT,
    RELOAD_MERCY,
    WORKER_CONNECTIONS,
    arguments,
    capacity,
    connections,
    deadline,
    deadline_in_words,
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
        ("client", (_client(chain),)),
        ("nginx", (_nginx(chain), _nginx_times(chain))),
        ("uWSGI", (_uwsgi(chain), _uwsgi_limits(chain), _uwsgi_times(chain))),
        ("pool", (_pool(chain), _pool_times(chain))),
        ("engine", (_engine(chain),)),
        ("database", (_database(chain), _database_times(chain))),
    )
    lines: list[str] = []
    for name, groups in links:
        is_last = name == links[-1][0]
        told = [line for parts in groups for line in _joined(list(parts), width - _NAME - 4)]
        lines.append(f" {name:>{_NAME}} {signs.node} {(told or [UNKNOWN])[0]}")
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
    location = _main_location(chain)
    if location is None:
        yield "passes nothing on"
        return
    size = location.get("client_max_body_size")
    body = nginx_bytes(first(size)) if size else BODY_SIZE
    yield f"body {UNKNOWN if body is None else in_bytes(body) if body else 'unlimited'}"
    given = arguments(location.get("large_client_header_buffers"))
    count, room = map(str, HEADER_BUFFERS) if len(given) < 2 else given[:2]  # noqa: PLR2004
    each_size = nginx_bytes(room)
    yield f"headers {count} x {UNKNOWN if each_size is None else in_bytes(each_size)}"
    for what, name in (("answers", "buffering"), ("requests", "request_buffering")):
        if first(directive(location, name)) == "off":
            yield f"{what} unbuffered"
    if location.upstream:
        yield f"to {', '.join(location.upstream[:2])}"


def _nginx_times(chain: Chain) -> Iterator[str]:
    location = _main_location(chain)
    if location is None:
        return
    for name in ("connect", "send", "read"):
        place = directive(location, f"{name}_timeout")
        seconds = nginx_seconds(first(place)) if place else READ_TIMEOUT
        yield f"{module(location)}_{name}_timeout {_seconds(seconds)}"


def _main_location(chain: Chain) -> NginxLocation | None:
    found = list(locations(chain))
    return next((one for one in found if one.path == "/"), found[0] if found else None)


def _uwsgi(chain: Chain) -> Iterator[str]:
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    many = f"{_count(replicas(chain), 'replica')} x " if chain.compose else ""
    loop = next((name for name in ("gevent", "asyncio") if uwsgi.is_on(name)), "thread")
    what = "thread" if loop == "thread" else f"{loop} greenlet"
    yield f"{many}{_count(processes(uwsgi), 'process')} x {_count(threads(uwsgi), what)}"
    somaxconn = whole(chain.host.values.get("somaxconn")) if chain.host else None
    yield f"listen {uwsgi.number('listen', LISTEN)} of {somaxconn or UNKNOWN}"
    if uwsgi.version:
        yield "version " + ".".join(map(str, uwsgi.version))
    yield f"headers {in_bytes(uwsgi.number('buffer-size', BUFFER_SIZE))}"
    limit = uwsgi.number("limit-post")
    yield f"body {in_bytes(limit) if limit else 'unlimited'}"
    recycled = uwsgi.number("max-requests")
    yield f"max-requests {recycled}" if recycled else "max-requests off"


def _uwsgi_limits(chain: Chain) -> Iterator[str]:
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    bound = uwsgi.number("reload-on-rss")
    values = chain.host.values if chain.host else {}
    memory = chain.compose.memory if chain.compose else values.get("memory")
    size = number(memory)
    limited = UNKNOWN if size is None else in_bytes(size)
    each = f"{processes(uwsgi)} x {bound} MiB of " if bound else ""
    yield f"memory {each}{limited}"
    for name, words in (("nofile", "files"), ("nproc", "processes")):
        found = number(values.get(name))
        yield f"{words} {UNKNOWN if found is None else _limit(found)}"


def _uwsgi_times(chain: Chain) -> Iterator[str]:
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    yield f"harakiri {_seconds(harakiri(uwsgi) or math.inf)}"
    yield f"worker-reload-mercy {uwsgi.number('worker-reload-mercy', RELOAD_MERCY)} s"
    if chain.compose:
        yield f"stop_grace_period {_seconds(number(chain.compose.stop_grace_period))}"


def _pool(chain: Chain) -> Iterator[str]:
    count = workers(chain)
    if count is None:
        return
    yield f"{_count(count, 'worker')} in each process"
    queue = whole(chain.pool.get("max_queue"))
    yield f"queue {4 * count if queue is None else queue}"
    yield f"overflow {text(chain.pool.get('overflow')) or UNKNOWN}"


def _pool_times(chain: Chain) -> Iterator[str]:
    if workers(chain) is None:
        return
    yield f"deadline {deadline_in_words(chain)}"
    yield f"drain_timeout {_seconds(drain(chain))}"


def _engine(chain: Chain) -> Iterator[str]:
    application = chain.application
    if application is None:
        return
    found = application.engines
    if not found:
        yield UNKNOWN
    else:
        main = min(found, key=lambda engine: math.isinf(capacity(engine) or 0))
        yield from _one_engine(chain, main)
    if len(found) > 1:
        yield f"and {_count(len(found) - 1, 'engine')} more"


def _one_engine(chain: Chain, engine: Engine) -> Iterator[str]:
    values = engine.values
    kind = "+".join(filter(None, (text(values.get("dialect")), text(values.get("driver")))))
    several = chain.application is not None and len(chain.application.engines) > 1
    yield f"{engine.name} ({kind or UNKNOWN})" if several else kind or UNKNOWN
    size, over = (text(values.get(name)) or UNKNOWN for name in ("pool_size", "max_overflow"))
    pool = text(values.get("poolclass"))
    yield (
        f"{size} + {over} connections"
        if pool in {"", "QueuePool", "AsyncAdaptedQueuePool"}
        else pool
    )
    ping = values.get("pool_pre_ping")
    yield f"pre-ping {UNKNOWN if ping is None else 'on' if is_true(ping) else 'off'}"
    for name in ("pool_timeout", "pool_recycle"):
        seconds = number(values.get(name))
        never = seconds is not None and seconds < 0
        yield f"{name} {_seconds(math.inf if never else seconds)}"
    limit = number(values.get("statement_seconds"))
    yield f"statement {_seconds(limit if limit is None or limit else math.inf)}"


def _database(chain: Chain) -> Iterator[str]:
    database = chain.database
    if database is None:
        return
    variables = database.variables
    total, most = connections(chain), whole(variables.get("max_connections"))
    needed = total.words if total else UNKNOWN
    yield f"{needed} connections of {UNKNOWN if most is None else most}"
    if version := text(variables.get("version")):
        yield version[:40]


def _database_times(chain: Chain) -> Iterator[str]:
    database = chain.database
    if database is None:
        return
    yield f"wait_timeout {_seconds(number(database.variables.get('wait_timeout')))}"
    found = statement_limit(chain)
    yield f"statement {_seconds(found[0] or math.inf if found else None)}"


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


_MOST = 1e9  # what is more is no limit


def _limit(value: float) -> str:
    return shown(value) if value < _MOST else "unlimited"


def _count(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    return f"{count} {what}es" if what.endswith("s") else f"{count} {what}s"
