"""What was read of each link of the chain, each value with the place that it was read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One value, and where it stands.

    Attributes:
        value: as it counts: a number where one is meant, with units resolved to seconds and bytes.
        file: where it was read: the path of a file, or ``environment``, ``kernel``, ``database``,
            ``stats socket``, ``application``, ``default``.
        line: in that file, from 1; 0 where there is none.
        written: as it stands there, if that is something else: ``%(request-threads)``.
    """

    value: Any
    file: str = "default"
    line: int = 0
    written: str = ""


@dataclass(frozen=True)
class Uwsgi:
    """The options of uWSGI, in the order in which uWSGI would take them.

    Attributes:
        file: the one that was given.
        options: by their names, as uWSGI spells them (``lazy-apps``), all values of each in turn;
            aliases under one name (``processes`` for ``workers`` and ``p``, ``wsgi-file``,
            ``module`` for ``wsgi``). Placeholders are resolved; logic (``if-env``) is followed.
        environ: what the application finds in ``os.environ``: what was set outside, and ``env``.
        version: of the program, such as ``(2, 0, 31)``; `None` if it was not found.
        stats: what its stats socket says, if it runs and has one.
        unknown: names that uWSGI has no option for, and that nothing refers to: it leaves them
            alone. With ``strict`` those too that are referred to, and it does not start.
        unseen: variables that ``env`` sets and that do not reach ``os.environ``, although `environ`
            has them: all of them with the package ``pyuwsgi``, but for ``reload-os-env``.
        modes: of the UNIX sockets that are there now, by their paths.
    """

    file: str
    options: Mapping[str, Sequence[Setting]]
    environ: Mapping[str, Setting]
    version: tuple[int, ...] | None = None
    stats: Mapping[str, Any] | None = None
    unknown: Sequence[Setting] = ()
    unseen: Mapping[str, Setting] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)

    def get(self, name: str) -> Setting | None:
        """The value of an option that counts, the last one; `None` where it was not given."""
        values = self.options.get(name)
        return values[-1] if values else None

    def is_on(self, name: str) -> bool:
        """Whether a flag is set."""
        found = self.get(name)
        return found is not None and str(found.value).lower() not in {"", "0", "false", "no", "off"}

    def number(self, name: str, default: int = 0) -> int:
        """An option that is a number; the default, where it was not given or is none."""
        found = self.get(name)
        try:
            return default if found is None else int(str(found.value), 10)
        except ValueError:
            return default


@dataclass(frozen=True)
class NginxLocation:
    """One location of one server that passes requests to uWSGI, with all that it inherits.

    Attributes:
        server: its names and ports, for people: ``example.org:80``.
        path: of the location, with its modifier: ``~ ^/api``.
        directives: what counts there, inherited or its own, by name; each as the arguments stand in
            the file (a `Setting` whose value is a tuple of strings). What nginx takes several times
            (``uwsgi_param``) has all of them. What stands in the block of its upstream is there
            as ``upstream.server``, ``upstream.keepalive``, ...
        upstream: addresses of the servers it passes to, such as ``unix:/run/uwsgi.sock``.
        protocol: ``uwsgi``, ``http`` (`proxy_pass`), ``fastcgi``, ``scgi`` or ``grpc``.
    """

    server: str
    path: str
    directives: Mapping[str, Sequence[Setting]]
    upstream: Sequence[str] = ()
    protocol: str = "uwsgi"
    file: str = ""
    line: int = 0

    def get(self, name: str) -> Setting | None:
        """The directive that counts, the last one; `None` where nginx's default does."""
        found = self.directives.get(name)
        return found[-1] if found else None


@dataclass(frozen=True)
class Nginx:
    """nginx's configuration.

    Attributes:
        file: the one that was given.
        main: directives of the main and the events context, by name.
        locations: those that pass requests on.
        is_part: of a configuration whose main and events context stand elsewhere.
    """

    file: str
    main: Mapping[str, Sequence[Setting]]
    locations: Sequence[NginxLocation]
    is_part: bool = False


@dataclass(frozen=True)
class Engine:
    """One SQLAlchemy engine of the application.

    Attributes:
        name: how the application calls it, for people.
        values: ``pool_size``, ``max_overflow``, ``pool_timeout``, ``pool_recycle``,
            ``pool_pre_ping``, ``driver`` (``mysqldb``), ``dialect`` (``mysql``), ``poolclass``,
            ``statement_seconds`` (the limit that the application or its URL sets; `None` where it
            sets one that could not be read), as far as they could be read: one that is missing is
            not known; SQLAlchemy's defaults with the file ``default``. By `--load` also
            ``connections``, those that are open after the import.
        made_at_import: where the application makes it when its module is imported; else `None`.
        is_flask: it is Flask-SQLAlchemy that makes it, of ``SQLALCHEMY_ENGINE_OPTIONS``.
    """

    name: str
    values: Mapping[str, Setting]
    made_at_import: Setting | None = None
    is_flask: bool = False


@dataclass(frozen=True)
class Application:
    """What the application's own code says, read without running it, or by `--load`.

    Attributes:
        module: its name, such as ``stack.wsgi:application``.
        engines: those that were found.
        pool_made_at_import: where a pool is warmed when the module is imported; its value is
            ``executor`` where that is not commonpool's but the standard library's.
        debug: where Flask's debug mode is switched on: the code, or ``FLASK_DEBUG``.
        reloader: where a reloader is.
        loop: ``gevent`` or ``asyncio`` with the place that says so.
        packages: versions of what is installed: ``flask``, ``sqlalchemy``, ``uwsgi``, ...
        pool: settings of commonpool that the code gives, by the names of `PoolConfig`: these count
            before variables.
        adapted: where it imports an adapter of commonpool that looks after its engines
            (``commonpool.ext.sqlalchemy``, or what imports it).
    """

    module: str = ""
    engines: Sequence[Engine] = ()
    pool_made_at_import: Setting | None = None
    debug: Setting | None = None
    reloader: Setting | None = None
    loop: Setting | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    pool: Mapping[str, Setting] = field(default_factory=dict)
    adapted: Setting | None = None


@dataclass(frozen=True)
class Database:
    """What the database itself says.

    Attributes:
        url: of it, with the password hidden.
        variables: ``max_connections``, ``wait_timeout``, ``max_statement_time``, ``version``, ...,
            times in seconds, and ``dialect`` (``mariadb``, ``mysql``, ``postgresql``, ``sqlite``);
            from the database, or from the compose file's command of it.
    """

    url: str
    variables: Mapping[str, Setting]


@dataclass(frozen=True)
class Host:
    """What the kernel lets us have: by their names in /proc, with `Setting.file` the path.

    Attributes:
        values: ``somaxconn``, ``nofile`` and ``nofile_hard`` (what is allowed to this user, now and
            at most), ``nproc``, ``memory`` (bytes, of the machine or of the container's limit),
            ``cpus``; what has no limit is left out. Of a container, its compose file's.
    """

    values: Mapping[str, Setting]


@dataclass(frozen=True)
class Compose:
    """What a compose file says of the services that are links of the chain.

    Attributes:
        file: the one that was given.
        replicas: of the service with the application.
        memory: bytes that one replica may have; `None` for no limit.
        stop_grace_period: seconds that it has to end.
        environ: of the service with the application.
        services: their names, by role: ``application``, ``database``, ``nginx``.
        limits: of one replica, where they are set: ``pids``, ``cpus``, ``nofile``, ``nproc``,
            ``somaxconn``.
        is_listed: ``environment`` is a list of ``NAME=value``, and no mapping.
    """

    file: str
    replicas: Setting
    memory: Setting | None
    stop_grace_period: Setting
    environ: Mapping[str, Setting]
    services: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Setting] = field(default_factory=dict)
    is_listed: bool = False


@dataclass(frozen=True)
class Site:
    """What a running site answers.

    Attributes:
        url: what was asked for.
        status: of the answer; 0 where there was none.
        seconds: until it was there.
        headers: of the answer, names in lower case.
        error: why there was none.
        debugger: whether Werkzeug's debugger answers there.
    """

    url: str
    status: int
    seconds: float
    headers: Mapping[str, str]
    error: str = ""
    debugger: bool = False


@dataclass(frozen=True)
class Unreadable:
    """What was asked to be looked at and could not be: a reason for the exit code 3."""

    what: str
    file: str
    line: int
    message: str


@dataclass(frozen=True)
class Chain:
    """All links, as far as they were looked at; `None` for one that was not.

    Attributes:
        pool: the values of `PoolConfig` as they count, by name, with the place of each.
    """

    uwsgi: Uwsgi | None = None
    nginx: Nginx | None = None
    pool: Mapping[str, Setting] = field(default_factory=dict)
    application: Application | None = None
    database: Database | None = None
    host: Host | None = None
    compose: Compose | None = None
    site: Site | None = None
    unreadable: Sequence[Unreadable] = ()
