"""uWSGI: its processes and threads, how they start and end, its sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from commonpool.chain.model import Chain, Setting, Uwsgi
from commonpool.chain.uwsgi_options import nearest
from commonpool.doctor.facts import first, main_directive, threads
from commonpool.doctor.findings import Level, Seen, check, fail, ok, warn

GRACEFUL = "hook-master-start = unix_signal:15 gracefully_kill_them_all"
THREADS_BY_DEFAULT = (2, 0, 27)
RECYCLE_PER_THREAD = 300
"""Requests that one thread answers in half a minute, if one takes 100 ms. A worker process that is
replaced more often is being started for much of the time."""


@check(
    "uwsgi-threads-off",
    Level.FAIL,
    why="The pool's workers stand still between requests, in the middle of a query; commonpool "
    "refuses to start there.",
)
def threads_off(chain: Chain) -> Iterator[Seen]:
    """Threads are off: uWSGI before 2.0.27, with neither `enable-threads` nor `threads`."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    if uwsgi.is_on("enable-threads") or uwsgi.get("threads") is not None:
        yield ok("Python's threads run", uwsgi.get("enable-threads"), file=uwsgi.file)
    elif uwsgi.version is not None:
        version = ".".join(map(str, uwsgi.version))
        if uwsgi.version < THREADS_BY_DEFAULT:
            yield fail(
                f"uWSGI {version} runs no Python threads: they are on by default since 2.0.27 "
                "only, and neither enable-threads nor threads is set",
                fix="enable-threads = true",
                file=uwsgi.file,
            )
        else:
            yield ok(f"uWSGI {version} runs Python's threads by default", file=uwsgi.file)


@check(
    "uwsgi-no-master",
    Level.FAIL,
    why="Nobody starts a worker process again that has died, and neither harakiri nor a reload "
    "works.",
)
def no_master(chain: Chain) -> Iterator[Seen]:
    """`master` is off."""
    yield from _flag(chain, "master", fail, "no process watches and replaces the worker processes")


@check(
    "uwsgi-no-vacuum",
    Level.WARN,
    why="The socket stays when uWSGI ends, and nginx goes on sending requests into it.",
)
def no_vacuum(chain: Chain) -> Iterator[Seen]:
    """`vacuum` is off, and uWSGI makes a UNIX socket."""
    uwsgi = chain.uwsgi
    paths = [] if uwsgi is None else unix_sockets(uwsgi)
    if uwsgi is not None and paths:
        yield from _flag(chain, "vacuum", warn, f"{paths[0].value} is left behind at the end")


@check(
    "uwsgi-no-need-app",
    Level.WARN,
    why="Where the application cannot be imported, uWSGI starts nevertheless, and answers every "
    "request with 500.",
)
def no_need_app(chain: Chain) -> Iterator[Seen]:
    """`need-app` is off."""
    yield from _flag(chain, "need-app", warn, "uWSGI runs without the application, too")


@check(
    "uwsgi-no-strict",
    Level.WARN,
    why="An option with a typing error is ignored without a word.",
)
def no_strict(chain: Chain) -> Iterator[Seen]:
    """`strict` is off."""
    yield from _flag(chain, "strict", warn, "unknown options are no error")


@check(
    "uwsgi-unknown-option",
    Level.WARN,
    Level.FAIL,
    why="With strict uWSGI does not start; without it what was meant does not count.",
)
def unknown_option(chain: Chain) -> Iterator[Seen]:
    """An option that uWSGI does not know: a typing error, as a rule."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    if not uwsgi.unknown:
        yield ok("all options are known", file=uwsgi.file)
    made = fail if uwsgi.is_on("strict") else warn
    for setting in uwsgi.unknown:
        name = str(setting.value)
        near = nearest(name)
        yield made(
            f"uWSGI knows no option {name}" + (f"; {near} may be meant" if near else ""),
            setting,
            fix=f"{near} = ..." if near else f"; {name} = ...",
            file=uwsgi.file,
        )


@check(
    "env-not-seen",
    Level.WARN,
    why="With the package pyuwsgi Python has copied its environment before uWSGI reads its file: "
    "the application has its defaults, and not what is set there.",
)
def env_not_seen(chain: Chain) -> Iterator[Seen]:
    """What `env` sets does not reach the application: `pyuwsgi` without `reload-os-env`."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    if uwsgi.unseen:
        names = ", ".join(uwsgi.unseen)
        yield warn(
            f"env sets {names}, which os.environ does not have",
            uwsgi.get("reload-os-env"),
            fix="reload-os-env = true",
            file=uwsgi.file,
        )
    elif uwsgi.get("env") is not None:
        yield ok("what env sets reaches the application", file=uwsgi.file)


@check(
    "several-interpreters",
    Level.FAIL,
    why="Each interpreter would have a pool of its own, and all but the first no exit hook: "
    "commonpool refuses to be loaded there.",
)
def several_interpreters(chain: Chain) -> Iterator[Seen]:
    """Several applications without `single-interpreter`."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    mounts = list(uwsgi.options.get("mount", ()))
    others = [
        found
        for name in ("module", "wsgi-file", "wsgi", "file", "pyrun", "paste")
        if (found := uwsgi.get(name)) is not None
    ]
    count = len(mounts) + min(1, len(others))
    if uwsgi.is_on("single-interpreter"):
        yield ok("one Python interpreter", uwsgi.get("single-interpreter"), file=uwsgi.file)
    elif count > 1:
        yield fail(
            f"{count} applications, each in a Python interpreter of its own",
            mounts[-1],
            fix="single-interpreter = true",
            file=uwsgi.file,
        )
    elif count == 1:
        yield ok("one application, and so one Python interpreter", file=uwsgi.file)


@check(
    "sigterm-kills-requests",
    Level.FAIL,
    why="Whoever stops uWSGI (systemd, a container, a deploy) sends SIGTERM, and each request in "
    "flight is a 502 then.",
)
def sigterm(chain: Chain) -> Iterator[Seen]:
    """SIGTERM does not let requests finish: no graceful hook, `die-on-term` or not."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    hooks = uwsgi.options.get("hook-master-start", ())
    for hook in hooks:
        if _is_graceful(str(hook.value)):
            yield ok("SIGTERM lets requests finish", hook, file=uwsgi.file)
            return
    dying = uwsgi.get("die-on-term") if uwsgi.is_on("die-on-term") else None
    if dying is not None:
        message = (
            "die-on-term = true: with SIGTERM all worker processes end within 0.02 s, whatever "
            "they are answering"
        )
        fix = f"{GRACEFUL}\n(in the place of die-on-term)"
    else:
        message = (
            "with SIGTERM uWSGI kills its worker processes, whatever they are answering, and starts"
            " others: it does not even end"
        )
        fix = GRACEFUL
    yield fail(message, dying, fix=fix, file=uwsgi.file)


def _is_graceful(hook: str) -> bool:
    words = hook.split()
    return (
        len(words) == 2  # noqa: PLR2004 (what happens, and what is done)
        and words[0].lower() in {"unix_signal:15", "unix_signal:sigterm", "unix_signal:term"}
        and words[1] == "gracefully_kill_them_all"
    )


@check(
    "max-worker-lifetime-unbounded",
    Level.WARN,
    why="uWSGI sets no limit to such an end, unlike that of max-requests "
    "(worker-reload-mercy): a worker process with a thread or a request that does not end takes no"
    " more requests, and is never replaced.",
)
def max_worker_lifetime(chain: Chain) -> Iterator[Seen]:
    """`max-worker-lifetime` is on, which waits without bound."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    found = uwsgi.get("max-worker-lifetime")
    seconds = uwsgi.number("max-worker-lifetime")
    if seconds <= 0:
        yield ok("no max-worker-lifetime", file=uwsgi.file)
        return
    yield warn(
        f"max-worker-lifetime = {seconds}: after {seconds} s a worker process takes no more "
        "requests, and is waited for without limit",
        found,
        fix="max-requests = 10000\nmax-requests-delta = 1000\n(in the place of "
        "max-worker-lifetime)",
        file=uwsgi.file,
    )


@check(
    "max-requests-too-low",
    Level.WARN,
    why="While a worker process is started anew, and loads the application, its requests wait for "
    "the others.",
)
def max_requests(chain: Chain) -> Iterator[Seen]:
    """`max-requests` is so low that worker processes are replaced all the time."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    most = uwsgi.number("max-requests")
    if most <= 0:
        yield ok("no max-requests", file=uwsgi.file)
        return
    count = threads(uwsgi)
    least = RECYCLE_PER_THREAD * count
    found = uwsgi.get("max-requests")
    if most >= least:
        yield ok(f"max-requests = {most}, for {count} threads", found, file=uwsgi.file)
        return
    yield warn(
        f"max-requests = {most}: {count} {'thread' if count == 1 else 'threads'} with requests of "
        f"100 ms answer that many in {most / count / 10:.3g} s, then the process is replaced",
        found,
        fix=f"max-requests = {max(10_000, least)}",
        file=uwsgi.file,
    )


@check(
    "stats-open",
    Level.FAIL,
    why="It tells everyone who can connect the variables of the requests in flight, cookies "
    "included.",
)
def stats_open(chain: Chain) -> Iterator[Seen]:
    """The stats server listens on an address that others can reach."""
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    found = uwsgi.get("stats") or uwsgi.get("stats-server")
    if found is None:
        yield ok("no stats server", file=uwsgi.file)
        return
    address = str(found.value)
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in address:
        yield ok(f"the stats server's socket is {address}", found, file=uwsgi.file)
    elif host.startswith("127.") or host in {"localhost", "[::1]"}:
        yield ok(f"the stats server listens on {address}", found, file=uwsgi.file)
    else:
        reach = "all addresses" if host in {"", "0.0.0.0", "[::]"} else host  # noqa: S104
        yield fail(
            f"the stats server listens on {reach}, port {port}",
            found,
            fix=f"stats = 127.0.0.1:{port}",
            file=uwsgi.file,
        )


@check(
    "socket-permissions",
    Level.WARN,
    Level.FAIL,
    why="Who may write to the socket may send requests, and by the uwsgi protocol have uWSGI load "
    "any file as an application; who may not gets nothing but 502, and that should not be nginx.",
)
def socket_permissions(chain: Chain) -> Iterator[Seen]:
    """The UNIX socket's mode shuts nginx out, or lets everybody in."""
    uwsgi = chain.uwsgi
    paths = [] if uwsgi is None else unix_sockets(uwsgi)
    if uwsgi is None or not paths:
        return
    mode, place = _mode(uwsgi)
    path = paths[0]
    where = (place, path) if place is not None else (path,)
    if mode is None:
        return
    said = f"the mode of {path.value} is {mode:03o}"
    now = uwsgi.modes.get(str(path.value))
    if now is not None:
        mode, said = now, f"the mode of {path.value}, which is there, is {now:03o}"
    elif place is None:
        said += ", by the umask, since no chmod-socket is set"
    if mode & 0o002:
        yield warn(
            f"{said}: every user of this machine may write to it",
            *where,
            fix="chmod-socket = 660",
            file=uwsgi.file,
        )
    elif not mode & 0o020:
        passes = any(
            str(path.value) in upstream
            for location in (chain.nginx.locations if chain.nginx else ())
            for upstream in location.upstream
        )
        owner, nginx = _owner(uwsgi), first(main_directive(chain, "user"))
        if owner and (owner == nginx or (not nginx and uwsgi.get("chown-socket"))):
            yield ok(f"{said}, and it belongs to {owner}", *where, file=uwsgi.file)
            return
        # Who uWSGI and nginx run as may be said elsewhere: systemd's User=, www-data for both.
        made = fail if passes and owner and nginx else warn
        who = owner or "uWSGI's own user"
        yield made(
            f"{said}: only {who} may write to it"
            + (
                f", and nginx passes requests to it, as {nginx or 'whoever it is'}"
                if passes
                else ""
            ),
            *where,
            fix="chmod-socket = 660\n(and nginx's user in the group of uWSGI's)",
            file=uwsgi.file,
        )
    else:
        yield ok(said, *where, file=uwsgi.file)


def _owner(uwsgi: Uwsgi) -> str:
    """The user to whom sockets belong; empty where that is not said."""
    found = uwsgi.get("chown-socket") or uwsgi.get("uid")
    return "" if found is None else str(found.value).partition(":")[0]


_UMASK = 0o022


def _mode(uwsgi: Uwsgi) -> tuple[int | None, Setting | None]:
    """The mode of a socket that uWSGI makes, and who says so; `None` where that is not known."""
    found = uwsgi.get("chmod-socket") or uwsgi.get("chmod")
    if found is None:
        mask = uwsgi.get("umask")
        own = 0 if uwsgi.get("daemonize") else _UMASK  # what daemonizing sets
        value = _octal(mask) if mask else own
        return (None if value is None else 0o777 & ~value), mask
    if str(found.value).lower() in {"", "true", "1"}:  # without a value
        return 0o666, found
    return _octal(found), found


def _octal(setting: Setting) -> int | None:
    try:
        return int(str(setting.value), 8)
    except ValueError:
        return None


def unix_sockets(uwsgi: Uwsgi) -> list[Setting]:
    """Sockets that uWSGI makes under a path, and so gives a mode and removes."""
    found = []
    for name in ("socket", "uwsgi-socket", "http-socket"):
        for setting in uwsgi.options.get(name, ()):
            address = str(setting.value)
            is_path = "/" in address and not address.startswith(("fd://", "@"))
            if is_path or address.endswith((".sock", ".socket")):
                found.append(setting)
    return found


def _flag(chain: Chain, name: str, made: Callable[..., Seen], otherwise: str) -> Iterator[Seen]:
    uwsgi = chain.uwsgi
    if uwsgi is None:
        return
    if uwsgi.is_on(name):
        yield ok(f"{name} is on", uwsgi.get(name), file=uwsgi.file)
    else:
        found = uwsgi.get(name)
        yield made(f"{name} is off: {otherwise}", found, fix=f"{name} = true", file=uwsgi.file)


CHECKS = (
    threads_off,
    no_master,
    unknown_option,
    env_not_seen,
    several_interpreters,
    sigterm,
    stats_open,
    socket_permissions,
    no_need_app,
    no_vacuum,
    no_strict,
    max_worker_lifetime,
    max_requests,
)
