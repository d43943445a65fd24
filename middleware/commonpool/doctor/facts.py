"""Numbers that several checks, and the picture, take out of a chain."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from commonpool.chain.model import Chain, Engine, NginxLocation, Setting, Uwsgi
from commonpool.doctor.findings import is_file
from commonpool.servers import SHARE_OF_HARAKIRI

RESERVE = 10
"""Connections of a database that are left to others: whoever looks after it, monitoring, cron."""

# uWSGI's own, where the file says nothing.
LISTEN = 100
BUFFER_SIZE = 4096
RELOAD_MERCY = 60
SOCKET_TIMEOUT = 4

# nginx's own.
READ_TIMEOUT = 60.0
WORKER_CONNECTIONS = 512
BODY_SIZE = 1 << 20
HEADER_BUFFERS = (4, 8 << 10)

MIB = 1 << 20

_LINE = 70  # characters of a line to write, so that a terminal's of 80 does not break it


def number(setting: Setting | None) -> float | None:
    """The number that a setting is; `None` where it is none."""
    if setting is None or setting.value is None or isinstance(setting.value, bool):
        return None
    try:
        found = float(str(setting.value).strip())
    except ValueError:
        return None
    return None if math.isnan(found) else found


def whole(setting: Setting | None) -> int | None:
    """The whole number that a setting is; `None` where it is none."""
    found = number(setting)
    return int(found) if found is not None and math.isfinite(found) else None


def is_true(setting: Setting | None) -> bool:
    """Whether a setting is on."""
    return setting is not None and str(setting.value).lower() not in {
        *("", "0", "false", "no", "off", "none"),
    }


def shown(value: float) -> str:
    """A number for people: 27 and not 27.0."""
    return f"{value:g}" if math.isinf(value) or abs(value) < 1e6 else f"{value:,.0f}"  # noqa: PLR2004


# uWSGI and the pool


def processes(uwsgi: Uwsgi) -> int:
    """Worker processes of one uWSGI."""
    return max(1, uwsgi.number("processes", 1))


def threads(uwsgi: Uwsgi) -> int:
    """Requests that one worker process answers at a time: threads, or greenlets."""
    most = max(uwsgi.number(name, 1) for name in ("threads", "gevent", "async", "asyncio"))
    return max(1, most)


def harakiri(uwsgi: Uwsgi) -> int:
    """Seconds; 0 where it is off."""
    return max(0, uwsgi.number("harakiri"))


def workers(chain: Chain) -> int | None:
    """Workers of the pool in one process."""
    return whole(chain.pool.get("max_workers"))


def deadline(chain: Chain) -> float:
    """Seconds that a request has, `math.inf` for no limit.

    Where none is set it is nine tenths of ``harakiri``, as `commonpool.servers` has it.
    """
    given = number(chain.pool.get("deadline"))
    if given is not None:
        return given
    most = harakiri(chain.uwsgi) if chain.uwsgi else 0
    return SHARE_OF_HARAKIRI * most if most else math.inf


def deadline_in_words(chain: Chain) -> str:
    """The deadline, and where it comes from."""
    seconds = deadline(chain)
    if math.isinf(seconds):
        return "none"
    place = chain.pool.get("deadline")
    if place is None or place.value is None or place.written.startswith("harakiri"):
        return f"{shown(seconds)} s (0.9 x harakiri)"
    return f"{shown(seconds)} s"


def variable(chain: Chain, place: Setting | None, name: str, value: object) -> str:
    """The line that sets a variable, as the file has it in which it is set now.

    Args:
        chain: in which.
        place: where it is set now; in uWSGI's configuration, if nowhere.
        name: of the variable.
        value: which it is to have.
    """
    file = "" if place is None else place.file
    if chain.compose is not None and file == chain.compose.file:
        return f"- {name}={value}" if chain.compose.is_listed else f'{name}: "{value}"'
    if file.endswith(".py"):
        if place is not None and place.written:  # PoolConfig(...)
            return f"{name.removeprefix('COMMONPOOL_').lower()}={value}"
        return f"{name} = {value}"  # one of Flask's settings
    if file.endswith(".env"):
        return f"{name}={value}"
    return f"env = {name}={value}"


def drain(chain: Chain) -> float | None:
    """Seconds for background work when a process ends; `None` where that is not known."""
    found = number(chain.pool.get("drain_timeout"))
    return None if found is None or math.isinf(found) else found


def memory(chain: Chain) -> Setting | None:
    """Bytes that one replica may have: the compose file's limit, or else this machine's."""
    if chain.compose is not None and chain.compose.memory is not None:
        return chain.compose.memory
    return chain.host.values.get("memory") if chain.host else None


def replicas(chain: Chain) -> int:
    """How many uWSGIs there are; 1 where nobody says."""
    found = whole(chain.compose.replicas) if chain.compose else None
    return max(1, found or 1)


# The engine and the database


def engines(chain: Chain) -> Sequence[Engine]:
    """Those of the application that connect to a server."""
    found = chain.application.engines if chain.application else ()
    return [engine for engine in found if dialect(engine) != "sqlite"]


def dialect(engine: Engine) -> str:
    """The kind of the database, in SQLAlchemy's words; empty where that is not known."""
    return text(engine.values.get("dialect"))


def text(setting: Setting | None) -> str:
    """A setting as text; empty where there is none."""
    return "" if setting is None or setting.value is None else str(setting.value)


def capacity(engine: Engine) -> float | None:
    """Connections that it may have open; `math.inf` for no limit; `None` where it is not known."""
    if text(engine.values.get("poolclass")) in {"NullPool", "StaticPool", "SingletonThreadPool"}:
        return math.inf
    size, over = (whole(engine.values.get(name)) for name in ("pool_size", "max_overflow"))
    if size is None or over is None:
        return None
    return math.inf if over < 0 or size == 0 else size + over


def capacity_in_words(engine: Engine) -> str:
    """Its sum."""
    size, over = (text(engine.values.get(name)) or "?" for name in ("pool_size", "max_overflow"))
    return f"{size} + {over}"


def place_of(engine: Engine) -> Setting | None:
    """Where it is made, or set up."""
    places = (engine.made_at_import, *engine.values.values())
    return next((place for place in places if place and is_file(place)), None)


def engine_options(engine: Engine, keywords: str) -> str:
    """Keywords of `create_engine`, as the application that has this engine is to write them."""
    if not engine.is_flask:
        return keywords
    call = f"dict({keywords})"
    given = ast.walk(ast.parse(call))
    pairs = [
        f'"{one.arg}": {ast.get_source_segment(call, one.value)}'
        for one in given
        if isinstance(one, ast.keyword)
    ]
    line = f"SQLALCHEMY_ENGINE_OPTIONS = {{{', '.join(pairs)}}}"
    if len(line) <= _LINE:
        return line
    return "\n".join(("SQLALCHEMY_ENGINE_OPTIONS = {", *(f"    {pair}," for pair in pairs), "}"))


@dataclass(frozen=True)
class Connections:
    """All connections that may be open, as a sum.

    Attributes:
        each: of one process.
        total: of all processes of all replicas.
        words: the sum.
    """

    each: int
    total: int
    words: str


def connections(chain: Chain) -> Connections | None:
    """What all engines may open; `None` where something of it is not known."""
    found, uwsgi = engines(chain), chain.uwsgi
    if not found or uwsgi is None:
        return None
    each, words = 0, []
    pooled = [engine for engine in found if not math.isinf(capacity(engine) or 0)]
    for engine in pooled or found:  # beside those, one without a pool is for a probe, or a script
        most = capacity(engine)
        if most is None:
            return None
        if math.isinf(most):  # each thread holds one at most, or nearly so
            most = threads(uwsgi) + (workers(chain) or 0)
            words.append(f"{most:g}")
        else:
            words.append(capacity_in_words(engine))
        each += int(most)
        if dialect(engine) in {"mysql", "mariadb"}:  # over which statements are stopped
            each += 1
            words.append("1")
    count, copies = processes(uwsgi), replicas(chain)
    total = copies * count * each
    return Connections(each, total, f"{copies} x {count} x ({' + '.join(words)}) = {total}")


def statement_limit(chain: Chain, engine: Engine | None = None) -> tuple[float, Setting] | None:
    """Seconds after which the database stops a statement, 0 for never, and who says so.

    `None` where that is not known: the application sets one, of which the number could not be read,
    or was loaded, which does not tell.
    """
    if engine is not None and (found := engine.values.get("statement_seconds")) is not None:
        seconds = number(found)
        return None if seconds is None else (seconds, found)
    is_loaded = engine is not None and any(
        one.file == "application" for one in engine.values.values()
    )
    variables: Mapping[str, Setting] = chain.database.variables if chain.database else {}
    for name, unit in (
        ("max_statement_time", 1.0),
        ("max_execution_time", 0.001),
        ("statement_timeout", 0.001),
    ):
        found = variables.get(name)
        seconds = number(found)
        if found is not None and seconds is not None and not (is_loaded and seconds == 0):
            return seconds * unit, found
    if engine is None or is_loaded or not engine.values:
        return None
    return 0.0, Setting(0, "default")


# nginx


def locations(chain: Chain) -> Iterator[NginxLocation]:
    """Those that pass requests on to the application, without those that say the same twice.

    Where some speak uwsgi, what is passed on over HTTP is taken for somebody else's; and where some
    go to a socket of uWSGI's, what goes to others.
    """
    found = chain.nginx.locations if chain.nginx else ()
    ends = _ends(chain.uwsgi) if chain.uwsgi else set()
    found = [
        one for one in found if any(_end(address) in ends for address in one.upstream)
    ] or found
    protocol = "uwsgi" if any(one.protocol == "uwsgi" for one in found) else "http"
    seen = set()
    for location in found:
        if location.protocol != protocol:
            continue
        key = (location.file, location.line, location.path)
        if key not in seen:
            seen.add(key)
            yield location


def _ends(uwsgi: Uwsgi) -> set[str]:
    names = ("socket", "http-socket", "http")
    return {_end(str(one.value)) for name in names for one in uwsgi.options.get(name, ())}


def _end(address: str) -> str:
    """The path of a UNIX socket, or the port: on both sides the same, unlike the host."""
    if "/" in address:
        return "/" + address.removeprefix("unix:").lstrip("/")
    return address.rpartition(":")[2]


def directive(location: NginxLocation, name: str) -> Setting | None:
    """A directive of the module that passes requests on: ``uwsgi_`` or ``proxy_`` and `name`."""
    return location.get(f"{module(location)}_{name}")


def module(location: NginxLocation) -> str:
    """``uwsgi`` or ``proxy``: what the names of its directives begin with."""
    return "proxy" if location.protocol == "http" else "uwsgi"


def arguments(setting: Setting | None) -> tuple[str, ...]:
    """The arguments of a directive."""
    if setting is None:
        return ()
    value: Any = setting.value
    if isinstance(value, str | int | float):
        return (str(value),)
    return tuple(map(str, value))


def first(setting: Setting | None) -> str:
    """The first argument of a directive; empty where there is none."""
    return (*arguments(setting), "")[0]


_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def nginx_seconds(written: str) -> float | None:
    """A time as nginx has it, such as ``1m30s``, in seconds; `None` for what is none."""
    parts = re.findall(r"(\d+)(ms|[smhdw]?)\s*", written.lower())
    if not parts or "".join(a + b for a, b in parts) != re.sub(r"\s", "", written.lower()):
        return None
    return sum(int(count) * _UNITS[unit] for count, unit in parts)


def nginx_bytes(written: str) -> int | None:
    """A size as nginx has it, such as ``8k``, in bytes; `None` for what is none."""
    match = re.fullmatch(r"(\d+)([kmg]?)", written.lower())
    return None if match is None else int(match[1]) * _SIZES[match[2]]


def in_bytes(size: float) -> str:
    """Bytes for people."""
    for name, unit in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:g} bytes"


def nginx_processes(chain: Chain) -> int | None:
    """Worker processes of nginx itself; `None` where it is not known."""
    if chain.nginx is None:
        return None
    written = first(main_directive(chain, "worker_processes"))
    if not written:
        return None if chain.nginx.is_part else 1
    if written == "auto":
        cpus = whole(chain.host.values.get("cpus")) if chain.host else None
        return None if cpus is None else max(1, cpus)
    return int(written) if written.isdigit() and int(written) else None


def nginx_connections(chain: Chain) -> int | None:
    """Connections that each of its worker processes may have; `None` where it is not known."""
    if chain.nginx is None:
        return None
    written = first(main_directive(chain, "worker_connections"))
    if not written:
        return None if chain.nginx.is_part else WORKER_CONNECTIONS
    return int(written) if written.isdigit() else None


def main_directive(chain: Chain, name: str) -> Setting | None:
    """A directive of nginx's main or events context; `None` where nginx's default counts."""
    if chain.nginx is None:
        return None
    return (chain.nginx.main.get(name) or (None,))[-1]
