"""The application itself, and what is installed beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from commonpool.chain.model import Chain, Setting
from commonpool.doctor.facts import text, threads, variable, whole, workers
from commonpool.doctor.findings import Level, Seen, check, fail, ok, warn

_LONG_QUEUE = 100  # tasks for each worker


@check(
    "flask-debug",
    Level.FAIL,
    why="Whoever meets an error page can run code in the application, and sees its settings.",
)
def flask_debug(chain: Chain) -> Iterator[Seen]:
    """Flask's debug mode, or Werkzeug's debugger, is on."""
    application, site = chain.application, chain.site
    if site is not None and site.debugger:
        yield fail(
            f"Werkzeug's debugger answers at {site.url}",
            fix=("env = FLASK_DEBUG=0" if chain.uwsgi else "FLASK_DEBUG=0")
            + "\n(and no app.run() in production)",
            file=chain.uwsgi.file if chain.uwsgi else "",
        )
    elif site is not None and site.status:
        yield ok(f"no debugger answers at {site.url}")
    if application is None:
        return
    place = application.debug
    if place is None:
        yield ok("Flask's debug mode is off")
    elif place.file == "application":  # of settings that were not found by reading
        yield fail(
            "Flask's debug mode is on, once the application is imported",
            fix="DEBUG = False\n(in the settings that the application takes)",
        )
    else:
        yield fail(
            f"Flask's debug mode is on: {place.written or place.value}",
            place,
            fix=_off(place)
            if place.file.endswith(".py")
            else variable(chain, place, "FLASK_DEBUG", 0),
            file=chain.uwsgi.file if chain.uwsgi else "",
        )


def _off(place: Setting) -> str:
    """The line of code without what it switches on."""
    line = place.written or "debug=True"
    return line.replace("True", "False") if "True" in line else f"# {line}"


@check(
    "reloader",
    Level.FAIL,
    why="Worker processes are ended and started again whenever a file is touched, in the midst of "
    "requests.",
)
def reloader(chain: Chain) -> Iterator[Seen]:
    """A reloader watches files: `py-autoreload` and its like, or Flask's."""
    uwsgi, application = chain.uwsgi, chain.application
    place = application.reloader if application else None
    if uwsgi is not None and place is None:
        for name in ("py-autoreload", "python-autoreload", "py-auto-reload", "python-auto-reload"):
            if uwsgi.is_on(name):
                place = uwsgi.get(name)
                break
    if place is not None:
        from_ini = not place.file.endswith(".py")
        yield fail(
            f"a reloader watches the application's files: {place.written or place.value}",
            place,
            fix="py-autoreload = 0" if from_ini else _off(place),
            file=uwsgi.file if uwsgi else "",
        )
    elif uwsgi is not None or application is not None:
        yield ok("no reloader", file=uwsgi.file if uwsgi else "")


@check(
    "overflow-against-max-queue",
    Level.WARN,
    why="A queue that is too short refuses requests (503) while workers are idle; one that is never"
    " full lets tasks wait beyond their deadline, and the overflow policy never counts.",
)
def overflow(chain: Chain) -> Iterator[Seen]:
    """The queue's length does not go with what happens when it is full."""
    uwsgi = chain.uwsgi
    policy, place = text(chain.pool.get("overflow")), chain.pool.get("max_queue")
    count = workers(chain)
    if uwsgi is None or not policy or count is None:
        return
    queue = whole(place) or 4 * count
    said = f"overflow is {policy}, max_queue {queue}"
    if policy == "reject" and queue < max(count, threads(uwsgi)):
        yield warn(
            f"{said}, fewer than {count} workers or {threads(uwsgi)} request threads: requests are "
            "refused although most workers may be idle",
            place,
            chain.pool.get("overflow"),
            fix=variable(chain, place, "COMMONPOOL_MAX_QUEUE", 4 * count),
            file=uwsgi.file,
        )
    elif queue > _LONG_QUEUE * count:
        yield warn(
            f"{said}, more than {_LONG_QUEUE} for each of {count} workers: it is never full in "
            "time",
            place,
            fix=variable(chain, place, "COMMONPOOL_MAX_QUEUE", 4 * count),
            file=uwsgi.file,
        )
    else:
        yield ok(f"{said}, for {count} workers", place, file=uwsgi.file)


@check(
    "pool-setting-wrong",
    Level.FAIL,
    why="commonpool refuses to start with it, and so does the application.",
)
def pool_setting(chain: Chain) -> Iterator[Seen]:
    """A `COMMONPOOL_*` setting that is none, or has a wrong value."""
    wrong = [one for one in chain.unreadable if one.what == "pool"]
    for one in wrong:
        name = one.message.partition("=")[0].partition(" ")[0]
        place = Setting(None, one.file, one.line)
        yield fail(
            one.message.rstrip("."),
            place,
            fix=f"; {name}"
            if " is not a setting " in one.message
            else variable(chain, place, name, "..."),
            file=chain.uwsgi.file if chain.uwsgi else "",
        )
    if chain.pool and not wrong and (chain.uwsgi or chain.compose):
        yield ok("the pool's settings are right")


@dataclass(frozen=True)
class _Mismatch:
    """Versions that break together: all conditions hold."""

    conditions: tuple[tuple[str, str, str], ...]  # package, < or >=, version
    breaks: str
    fix: str


MISMATCHES = (
    _Mismatch(
        (("uwsgi", "<", "2.0.27"), ("python", ">=", "3.13")),
        "uWSGI before 2.0.27 does not know Python 3.13",
        "uwsgi>=2.0.28",
    ),
    _Mismatch(
        (("flask", "<", "2.2.5"), ("werkzeug", ">=", "3.0")),
        "Flask before 2.2.5 imports what Werkzeug 3 no longer has (url_quote)",
        "flask>=3.0",
    ),
    _Mismatch(
        (("flask", "<", "2.3"),),
        "commonpool.ext.flask needs Flask 2.3",
        "flask>=2.3",
    ),
    _Mismatch(
        (("flask", ">=", "2.3"), ("flask-sqlalchemy", "<", "3.0")),
        "Flask-SQLAlchemy before 3.0 imports what Flask 2.3 no longer has (_app_ctx_stack)",
        "flask-sqlalchemy>=3.1",
    ),
    _Mismatch(
        (("sqlalchemy", ">=", "2.0"), ("flask-sqlalchemy", "<", "3.0")),
        "Flask-SQLAlchemy before 3.0 does not know SQLAlchemy 2",
        "flask-sqlalchemy>=3.1",
    ),
    _Mismatch(
        (("sqlalchemy", "<", "2.0.30"),),
        "commonpool.ext.sqlalchemy needs SQLAlchemy 2.0.30",
        "sqlalchemy>=2.0.31",
    ),
    _Mismatch(
        (("sqlalchemy", ">=", "2.0"), ("sqlalchemy", "<", "2.0.31"), ("python", ">=", "3.13")),
        "SQLAlchemy before 2.0.31 cannot be imported by Python 3.13",
        "sqlalchemy>=2.0.31",
    ),
    _Mismatch(
        (("gevent", "<", "24.11"), ("python", ">=", "3.13")),
        "gevent before 24.11 does not know Python 3.13",
        "gevent>=24.11",
    ),
)
"""Known from the release notes and trackers of these packages, and from commonpool's own tests."""


@check(
    "versions-known-to-break",
    Level.FAIL,
    why="What is installed does not work together: it cannot be imported, or fails when used.",
)
def versions(chain: Chain) -> Iterator[Seen]:
    """Installed versions that are known to break together."""
    application = chain.application
    if application is None or not application.packages:
        return
    packages = {_normal(name): version for name, version in application.packages.items()}
    if "uwsgi" not in packages and "pyuwsgi" in packages:
        packages["uwsgi"] = packages["pyuwsgi"]
    if chain.uwsgi is not None and chain.uwsgi.version is not None:
        packages["uwsgi"] = ".".join(map(str, chain.uwsgi.version))
    bad = False
    for mismatch in MISMATCHES:
        if all(_holds(packages, *condition) for condition in mismatch.conditions):
            bad = True
            there = dict.fromkeys(name for name, _, _ in mismatch.conditions)
            yield fail(
                f"{', '.join(f'{name} {packages[name]}' for name in there)}: {mismatch.breaks}",
                fix=f"pip install '{mismatch.fix}'",
            )
    if not bad:
        known = dict.fromkeys(name for mismatch in MISMATCHES for name, _, _ in mismatch.conditions)
        yield ok(", ".join(f"{name} {packages[name]}" for name in known if name in packages))


def _holds(packages: dict[str, str], name: str, relation: str, version: str) -> bool:
    found = packages.get(name)
    if found is None:
        return False
    below = _key(found) < _key(version)
    return below if relation == "<" else not below


def _key(version: str) -> tuple[int, ...]:
    parts = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in parts[0].split(".")] if parts else []
    return tuple([*numbers, 0, 0, 0, 0][:4])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


CHECKS = (pool_setting, flask_debug, reloader, versions, overflow)
