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
    SOCKET_TIMEOUT,
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
    memory,
    module,
    nginx_bytes,
    nginx_connections,
    nginx_processes,
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
_LABEL = 6  # "size", "most", "time"


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
        ("client", {"": _client(chain), "time": _client_times(chain)}),
        ("nginx", {"size": _nginx(chain), "time": _nginx_times(chain)}),
        (
            "uWSGI",
            {"size": _uwsgi(chain), "most": _uwsgi_limits(chain), "time": _uwsgi_times(chain)},
        ),
        ("pool", {"size": _pool(chain), "time": _pool_times(chain)}),
        ("engine", {"size": _engine(chain), "time": _engine_times(chain)}),
        ("database", {"size": _database(chain), "time": _database_times(chain)}),
    )
    lines: list[str] = []
    for name, groups in links:
        is_last = name == links[-1][0]
        told = [
            f"{'' if index else label:<{_LABEL}}{line}"
            for label, parts in groups.items()
            for index, line in enumerate(_joined(list(parts), width - _NAME - _LABEL - 4))
        ]
        lines.append(f" {name:>{_NAME}} {signs.node} {(told or [UNKNOWN])[0].strip()}")
        rail = " " if is_last else signs.line
        lines += [f" {'':{_NAME}} {rail} {line}" for line in told[1:]]
        if not is_last:
            lines.append(f" {'':{_NAME}} {signs.down}")
    lines.append("")
    lines += _orders(chain, width)
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


def _client_times(chain: Chain) -> Iterator[str]:
    location = _main_location(chain)
    if location is None:
        return
    for name, words, default in (
        ("client_header_timeout", "header", 60.0),
        ("client_body_timeout", "body", 60.0),
        ("send_timeout", "send", 60.0),
        ("keepalive_timeout", "keep-alive", 75.0),
    ):
        place = location.get(name)
        yield f"{words} {_seconds(nginx_seconds(first(place)) if place else default)}"


def _nginx(chain: Chain) -> Iterator[str]:
    nginx = chain.nginx
    if nginx is None:
        return
    own = first(main_directive(chain, "worker_processes")) or nginx_processes(chain) or UNKNOWN
    yield f"{own} x {nginx_connections(chain) or UNKNOWN} connections"
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
        yield f"{name} {_seconds(seconds)}"
    yield f"({module(location)}_..._timeout)"


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
    size = number(memory(chain))
    limited = UNKNOWN if size is None else in_bytes(size)
    each = f"{processes(uwsgi)} x {bound} MiB of " if bound else ""
    yield f"memory {each}{limited}"
    for name, words in (("nofile", "files"), ("nproc", "threads")):
        found = number(values.get(name))
        yield f"{UNKNOWN if found is None else _limit(found)} {words}"


def _uwsgi_times(chain: Chain) -> Iterator[str]:
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    yield f"harakiri {_seconds(harakiri(uwsgi) or math.inf)}"
    yield f"reload mercy {uwsgi.number('worker-reload-mercy', RELOAD_MERCY)} s"
    yield f"socket {uwsgi.number('socket-timeout', SOCKET_TIMEOUT)} s"


def _knows_settings(chain: Chain) -> bool:
    """Whether what sets the pool's variables was looked at, and not this shell alone."""
    return chain.uwsgi is not None or chain.compose is not None


def _pool(chain: Chain) -> Iterator[str]:
    count = workers(chain)
    if count is None or not _knows_settings(chain):
        return
    yield f"{_count(count, 'worker')} in each process"
    queue = whole(chain.pool.get("max_queue"))
    yield f"queue {4 * count if queue is None else queue}"
    yield f"overflow {text(chain.pool.get('overflow')) or UNKNOWN}"


def _pool_times(chain: Chain) -> Iterator[str]:
    if workers(chain) is None or not _knows_settings(chain):
        return
    yield f"deadline {deadline_in_words(chain)}"
    yield f"drain_timeout {_seconds(drain(chain))}"


def _engine(chain: Chain) -> Iterator[str]:
    application = chain.application
    if application is None:
        return
    found = application.engines
    if found:
        yield from _one_engine(_main_engine(found))
    if len(found) > 1:
        yield f"+ {_count(len(found) - 1, 'engine')}"


def _main_engine(found: Sequence[Engine]) -> Engine:
    """One with a pool, before those that open a connection each time."""
    return min(found, key=lambda engine: math.isinf(capacity(engine) or 0))


def _one_engine(engine: Engine) -> Iterator[str]:
    values = engine.values
    kind = "+".join(filter(None, (text(values.get("dialect")), text(values.get("driver")))))
    yield kind or UNKNOWN
    size, over = (text(values.get(name)) or UNKNOWN for name in ("pool_size", "max_overflow"))
    pool = text(values.get("poolclass"))
    yield f"{size} + {over} connections" if pool in _COUNTED else pool
    ping = values.get("pool_pre_ping")
    yield f"pre-ping {UNKNOWN if ping is None else 'on' if is_true(ping) else 'off'}"


_COUNTED = {"", "QueuePool", "AsyncAdaptedQueuePool"}


def _engine_times(chain: Chain) -> Iterator[str]:
    found = chain.application.engines if chain.application else ()
    if not found:
        return
    values = _main_engine(found).values
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
        yield f"version {version[:40]}"


def _database_times(chain: Chain) -> Iterator[str]:
    database = chain.database
    if database is None:
        return
    yield f"wait_timeout {_seconds(number(database.variables.get('wait_timeout')))}"
    found = statement_limit(chain)
    yield f"statement {_seconds(found[0] or math.inf if found else None)}"


def _orders(chain: Chain, width: int) -> Iterator[str]:
    """What has to be below what, and whether it is."""
    known = _knows_settings(chain)
    limits = [found[0] for one in engines(chain) if (found := statement_limit(chain, one))]
    found = statement_limit(chain)
    limit = min(limits, default=found[0] if found else None)
    uwsgi, compose = chain.uwsgi, chain.compose
    most = harakiri(uwsgi) if uwsgi else None
    reads = [
        nginx_seconds(first(place)) if (place := directive(one, "read_timeout")) else READ_TIMEOUT
        for one in locations(chain)
    ]
    last = deadline(chain) if known else None
    request = (
        ("deadline", last),
        ("statement", None if limit is None else limit or math.inf),
        ("harakiri", None if most is None else most or math.inf),
        ("nginx reads", min((read for read in reads if read is not None), default=None)),
    )
    draining = drain(chain)
    needed = None
    if known and last is not None and draining is not None:
        needed = (0 if math.isinf(last) else last) + draining + 1
    mercy = uwsgi.number("worker-reload-mercy", RELOAD_MERCY) if uwsgi else None
    end = (
        ("deadline + drain + 1 =", needed),
        ("reload mercy", mercy),
        ("stop grace", number(compose.stop_grace_period) if compose else None),
    )
    for label, steps in (("a request:", request), ("an end:", end)):
        yield from wrap(f" {label:<11}{_in_order(steps)}", width - 1, subsequent_indent=" " * 12)


def _in_order(steps: Sequence[tuple[str, float | None]]) -> str:
    told, before = "", None
    for name, seconds in steps:
        below = seconds is None or before is None or before < seconds or math.isinf(seconds)
        told += (" < " if below else " >= ") if told else ""
        told += f"{name} {_seconds(seconds)}"
        before = before if seconds is None or math.isinf(seconds) else seconds
    return told


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
