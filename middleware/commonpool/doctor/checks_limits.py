"""What the kernel, nginx and uWSGI have room for."""

from __future__ import annotations

from collections.abc import Iterator

from commonpool.chain.model import Chain, Setting
from commonpool.doctor.facts import (
    BODY_SIZE,
    BUFFER_SIZE,
    HEADER_BUFFERS,
    LISTEN,
    MIB,
    arguments,
    connections,
    first,
    in_bytes,
    locations,
    main_directive,
    nginx_bytes,
    nginx_connections,
    nginx_processes,
    processes,
    replicas,
    threads,
    whole,
    workers,
)
from commonpool.doctor.facts import memory as memory_of
from commonpool.doctor.findings import Level, Seen, check, fail, ok, warn

PROCESS = 64 * MIB
"""Of a worker process with Flask and SQLAlchemy, without what requests make."""
THREAD = MIB
"""Of a thread: what it touches of its stack, and what the C library keeps for it."""
MASTER = 64 * MIB
_FILES_OF_A_PROCESS = 32  # log, sockets, pipes, what is imported
_THREADS_BESIDE = 4  # watcher, event loop, what stops statements, uWSGI's own
_LARGEST_PACKET = 65_535
_MOST = 16_384  # connections of one process of nginx that are worth while


@check(
    "listen-above-somaxconn",
    Level.FAIL,
    why="uWSGI does not start.",
)
def listen_above_somaxconn(chain: Chain) -> Iterator[Seen]:
    """`listen` is above the kernel's `net.core.somaxconn`."""
    uwsgi, host = chain.uwsgi, chain.host
    most = whole(host.values.get("somaxconn")) if host else None
    if uwsgi is None or not most or not _binds(uwsgi.options):
        return
    queue, place = uwsgi.number("listen", LISTEN), uwsgi.get("listen")
    if queue <= most:
        yield ok(f"listen = {queue}, net.core.somaxconn = {most}", place, file=uwsgi.file)
    else:
        yield fail(
            f"listen = {queue}{'' if place else ', the default'}, and net.core.somaxconn is {most}",
            place,
            fix=f"listen = {most}\n(or sysctl net.core.somaxconn={queue})",
            file=uwsgi.file,
        )


def _binds(options: object) -> bool:
    """Whether uWSGI makes a socket by itself, so that its queue is its own."""
    get = getattr(options, "get", lambda *_: ())
    addresses = [
        str(setting.value)
        for name in ("socket", "uwsgi-socket", "http-socket", "shared-socket", "http", "https")
        for setting in get(name, ())
    ]
    return any(not address.startswith("fd://") for address in addresses)


@check(
    "buffer-size-below-headers",
    Level.WARN,
    why="A request with more cookies than that is cut off by uWSGI, and nginx answers 502 and takes"
    " uWSGI for broken.",
)
def buffer_size(chain: Chain) -> Iterator[Seen]:
    """`buffer-size` is below the headers that nginx lets through."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    size, place = uwsgi.number("buffer-size", BUFFER_SIZE), uwsgi.get("buffer-size")
    for location in locations(chain):
        given = location.get("large_client_header_buffers")
        count, each = HEADER_BUFFERS
        if given is not None:
            words = arguments(given)
            found = nginx_bytes(words[1]) if len(words) > 1 else None
            if found is None or not words[0].isdigit():
                continue
            count, each = int(words[0]), found
        need = min(count * each, _LARGEST_PACKET)
        said = f"nginx lets {count} x {in_bytes(each)} of headers through"
        if size >= need:
            yield ok(f"{said}, buffer-size is {size}", place, file=uwsgi.file)
        else:
            yield warn(
                f"{said}{'' if given else ' by default'}, and buffer-size is {size} bytes"
                f"{'' if place else ', the default'}",
                place,
                fix=f"buffer-size = {_LARGEST_PACKET}",
                file=uwsgi.file,
            )


@check(
    "body-size-above-limit-post",
    Level.FAIL,
    why="uWSGI breaks the connection off where nginx would have said 413: the client gets 502 for a"
    " body between the two.",
)
def body_size(chain: Chain) -> Iterator[Seen]:
    """`client_max_body_size` is above `limit-post`."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    most, place = uwsgi.number("limit-post"), uwsgi.get("limit-post")
    for location in locations(chain):
        given = location.get("client_max_body_size")
        size = nginx_bytes(first(given)) if given else BODY_SIZE
        if size is None:
            continue
        said = f"nginx takes bodies of {'any size' if size == 0 else f'up to {in_bytes(size)}'}"
        if most <= 0:
            yield ok(f"{said}; uWSGI sets no limit", given, file=location.file)
        elif 0 < size <= most:
            yield ok(f"{said}; limit-post is {most} bytes", given, file=location.file)
        else:
            yield fail(
                f"{said} (client_max_body_size), and limit-post is {most} bytes",
                given,
                place,
                fix=f"client_max_body_size {most};",
                file=location.file,
            )


@check(
    "memory-below-threads",
    Level.WARN,
    why="The kernel kills a process when the memory is used up, with all its requests.",
)
def memory(chain: Chain) -> Iterator[Seen]:
    """Threads x processes may grow beyond the memory that there is."""
    uwsgi = chain.uwsgi
    place = memory_of(chain)
    limit = whole(place)
    if uwsgi is None or not limit:
        return
    count = processes(uwsgi)
    measured = [int(worker.get("rss") or 0) for worker in (uwsgi.stats or {}).get("workers", ())]
    bound = uwsgi.number("reload-on-rss") or uwsgi.number("evil-reload-on-rss")
    each_threads = threads(uwsgi) + (workers(chain) or 0)
    if bound:
        each, how = bound * MIB, f"{bound} MiB (reload-on-rss)"
    elif any(measured):
        each, how = max(measured), f"{in_bytes(max(measured))} (as the stats server says)"
    else:
        each = PROCESS + each_threads * THREAD
        how = f"about {in_bytes(each)} ({each_threads} threads)"
    need = count * each + MASTER
    said = f"{count} x {how} + the master = {in_bytes(need)}"
    file = chain.compose.file if chain.compose else uwsgi.file
    if need <= limit:
        yield ok(f"{said}, of {in_bytes(limit)} of memory", place, file=file)
        return
    room = int((limit - MASTER) // max(1, count) // MIB)
    fix = (
        f"reload-on-rss = {room}"
        if bound and room >= PROCESS // MIB
        else f"processes = {max(1, int((limit - MASTER) // each))}"
    )
    yield warn(
        f"{said}, and the limit is {in_bytes(limit)}",
        uwsgi.get("reload-on-rss") if bound else uwsgi.get("processes"),
        fix=f"{fix}\n(or a limit of {in_bytes(_rounded(need))})",
        file=uwsgi.file,
    )


def _rounded(size: float) -> int:
    return -(-int(size) // (256 * MIB)) * 256 * MIB


@check(
    "worker-connections-too-few",
    Level.WARN,
    Level.FAIL,
    why="nginx then closes connections of clients, although uWSGI could answer ('worker_connections"
    " are not enough').",
)
def worker_connections(chain: Chain) -> Iterator[Seen]:
    """The `worker_connections` of nginx are fewer than uWSGI's requests need, two for each."""
    uwsgi, nginx, own = chain.uwsgi, chain.nginx, nginx_processes(chain)
    each, place = nginx_connections(chain), main_directive(chain, "worker_connections")
    if uwsgi is None or nginx is None or own is None or each is None or not list(locations(chain)):
        return
    busy = replicas(chain) * processes(uwsgi) * threads(uwsgi)
    waiting = replicas(chain) * uwsgi.number("listen", LISTEN)
    room = own * each // 2
    said = (
        f"nginx: {own} x {each} connections, for {room} requests (one to the client, one to uWSGI)"
    )
    if room >= busy + waiting:
        yield ok(f"{said}; uWSGI holds {busy} + {waiting}", place, file=nginx.file)
        return
    made = fail if room < busy else warn
    yield made(
        f"{said}; uWSGI answers {busy} at a time, and {waiting} may wait",
        place,
        fix=f"worker_connections {min(max(1024, -(-2 * (busy + waiting) // own)), _MOST)};",
        file=nginx.file,
    )


@check(
    "open-files-too-few",
    Level.WARN,
    Level.FAIL,
    why="Where no more files may be open, connections are refused and requests fail ('Too many open"
    " files').",
)
def open_files(chain: Chain) -> Iterator[Seen]:
    """The limit for open files is below what a process needs."""
    uwsgi = chain.uwsgi
    most, place = _open_files(chain)
    if uwsgi is not None and most:
        total = connections(chain)
        asked = threads(uwsgi) + (workers(chain) or 0)
        need = 2 * asked + (total.each if total else asked) + _FILES_OF_A_PROCESS
        if most >= need:
            yield ok(f"{most} files may be open, a process needs {need}", place, file=uwsgi.file)
        else:
            made = fail if most < asked else warn
            yield made(
                f"{most} files may be open; a worker process may need {need}: two for each of "
                f"{asked} threads, its connections, {_FILES_OF_A_PROCESS} of its own",
                place,
                fix=f"nofile: {max(1024, need)}"
                if _is_of_compose(place, chain)
                else f"max-fd = {max(1024, need)}\n(as root; else LimitNOFILE= or ulimit -n)",
                file=uwsgi.file,
            )
    nginx, files = chain.nginx, main_directive(chain, "worker_rlimit_nofile")
    if nginx is None or files is None or not first(files).isdigit():
        return
    room, each = int(first(files)), nginx_connections(chain)
    if each is None:
        return
    if room >= each:
        yield ok(f"nginx: {room} files for {each} connections", files, file=nginx.file)
    else:
        yield warn(
            f"nginx: worker_rlimit_nofile is {room}, and worker_connections {each}",
            files,
            fix=f"worker_rlimit_nofile {2 * each};",
            file=nginx.file,
        )


def _is_of_compose(place: Setting | None, chain: Chain) -> bool:
    return place is not None and chain.compose is not None and place.file == chain.compose.file


def _open_files(chain: Chain) -> tuple[int | None, Setting | None]:
    uwsgi = chain.uwsgi
    if uwsgi is not None and uwsgi.number("max-fd"):
        return uwsgi.number("max-fd"), uwsgi.get("max-fd")
    place = chain.host.values.get("nofile") if chain.host else None
    return whole(place), place


@check(
    "process-limit-too-low",
    Level.WARN,
    Level.FAIL,
    why="Threads count as processes: where no more can be started, tasks are run one after another,"
    " or uWSGI does not start at all.",
)
def process_limit(chain: Chain) -> Iterator[Seen]:
    """The limit for processes is below the threads of all worker processes."""
    uwsgi, host = chain.uwsgi, chain.host
    place = host.values.get("nproc") if host else None
    most = whole(place)
    if uwsgi is None or not most:
        return
    given = uwsgi.number("limit-nproc")
    if given:
        most, place = given, uwsgi.get("limit-nproc")
    each = threads(uwsgi) + (workers(chain) or 0) + _THREADS_BESIDE
    need = processes(uwsgi) * each + 1
    if most >= need:
        yield ok(f"{most} processes may be started, {need} are needed", place, file=uwsgi.file)
        return
    made = fail if most < processes(uwsgi) * threads(uwsgi) + 1 else warn
    yield made(
        f"{most} processes and threads may be started; uWSGI may need {processes(uwsgi)} x {each} "
        f"+ 1 = {need}",
        place,
        fix=f"limit-nproc = {2 * need}"
        if given
        else f"pids: {2 * need}\n(or pids_limit, or nproc, as it stands there)"
        if _is_of_compose(place, chain)
        else f"LimitNPROC={2 * need}\n(or ulimit -u; in a container, pids: {2 * need})",
        file=uwsgi.file,
    )


CHECKS = (
    listen_above_somaxconn,
    worker_connections,
    open_files,
    process_limit,
    body_size,
    buffer_size,
    memory,
)
