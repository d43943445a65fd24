"""The whole chain, put together from all that there is to read."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from commonpool.chain.application import read_application
from commonpool.chain.application_load import load_application
from commonpool.chain.compose_files import Services, read_compose
from commonpool.chain.database import read_database
from commonpool.chain.hiding import without_password
from commonpool.chain.host import read_host
from commonpool.chain.model import (
    Application,
    Chain,
    Database,
    Engine,
    Host,
    Nginx,
    Setting,
    Site,
    Unreadable,
    Uwsgi,
)
from commonpool.chain.nginx_files import read_nginx
from commonpool.chain.pool_settings import read_pool
from commonpool.chain.site_answers import read_site
from commonpool.chain.stats import read_stats
from commonpool.chain.text_files import NotReadError
from commonpool.chain.uwsgi_files import read_uwsgi
from commonpool.chain.versions import is_wheel, uwsgi_version

_T = TypeVar("_T")

_APPLICATIONS = ("module", "wsgi-file", "mount", "pyrun", "paste", "socket", "http-socket", "http")


def read_chain(
    *,
    uwsgi: str | None = None,
    nginx: str | None = None,
    url: str | None = None,
    database: str | None = None,
    compose: str | None = None,
    load: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Chain:
    """What the files and servers say that are named; nothing is changed.

    What an application finds in its environment is, each before the one behind it: what uWSGI's
    ``env`` sets, what is set here, what the compose file sets.

    Args:
        uwsgi: path of uWSGI's configuration (ini, yaml, json).
        nginx: path of nginx's.
        url: of the running site, which is asked for once.
        database: its URL, to which one connection is made.
        compose: path of a compose file.
        load: whether the application may be imported, in a process of its own.
        environ: what is set where uWSGI is started.

    Returns:
        What could be read, and in `Chain.unreadable` what could not. Never raises for what is read.
    """
    return _Reader(dict(environ)).chain(
        uwsgi=uwsgi, nginx=nginx, url=url, database=database, compose=compose, load=load
    )


class _Reader:
    """Reads one after the other, whatever becomes of the one before."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._unreadable: list[Unreadable] = []

    def chain(
        self,
        *,
        uwsgi: str | None,
        nginx: str | None,
        url: str | None,
        database: str | None,
        compose: str | None,
        load: bool,
    ) -> Chain:
        """All links that are asked for."""
        services = None if compose is None else self._services(compose)
        outside = {name: Setting(value, "environment") for name, value in self._environ.items()}
        given = outside if services is None else {**services.compose.environ, **outside}
        server = None if uwsgi is None else self._server(uwsgi, given)
        application = None if server is None else self._application(server, load=load)
        pool = self._pool(given if server is None else server.environ, server, application)
        return Chain(
            uwsgi=server,
            nginx=None if nginx is None else self._front(nginx, services),
            pool=pool,
            application=application,
            database=self._database(database, services),
            host=_with_limits(self._try("host", "kernel", read_host), services),
            compose=None if services is None else services.compose,
            site=None if url is None else self._site(url),
            unreadable=tuple(dict.fromkeys(self._unreadable)),
        )

    def _pool(
        self,
        environ: Mapping[str, Setting],
        server: Uwsgi | None,
        application: Application | None,
    ) -> Mapping[str, Setting]:
        file = "" if server is None else server.file
        code = {} if application is None else application.pool
        found = self._try("pool", file, lambda: self._kept(read_pool(environ, server, code)))
        return found or {}

    def _services(self, file: str) -> Services | None:
        return self._try("compose", file, lambda: self._kept(read_compose(file, self._environ)))

    def _server(self, file: str, environ: Mapping[str, Setting]) -> Uwsgi | None:
        def read() -> Uwsgi | None:
            version = uwsgi_version()
            server = self._kept(read_uwsgi(file, environ, version=version))
            if not server.options and self._unreadable:
                return None
            emperor = server.get("emperor")
            if emperor is not None and not any(server.get(name) for name in _APPLICATIONS):
                message = "is an emperor's, who serves nothing: name the file of one of its vassals"
                raise NotReadError("uwsgi", file, emperor.line, message)
            return dataclasses.replace(
                server, stats=read_stats(server), unseen=_unseen(server), modes=_modes(server)
            )

        return self._try("uwsgi", file, read)

    def _front(self, file: str, services: Services | None) -> Nginx | None:
        theirs = {} if services is None else services.nginx
        values = {name: str(setting.value) for name, setting in theirs.items()}
        # As in a shell: a variable that is empty has its default.
        values = {name: value for name, value in values.items() if value}
        values |= self._environ
        front = self._try("nginx", file, lambda: self._kept(read_nginx(file, values)))
        is_nothing = front is not None and not front.main and not front.locations
        return None if is_nothing and self._unreadable else front

    def _application(self, server: Uwsgi, *, load: bool) -> Application | None:
        file = server.file
        read = self._try("application", file, lambda: self._kept(read_application(server)))
        if not load or (read is not None and not read.module):
            return read
        here = dataclasses.replace(server, environ=_at_hand(server.environ))
        loaded = self._try("application", file, lambda: load_application(here))
        return _both(read, loaded)

    def _database(self, url: str | None, services: Services | None) -> Database | None:
        found = None
        if services is not None and services.database:
            service = services.compose.services["database"]
            found = Database(f"{service} in {services.compose.file}", services.database)
        if url is None:
            return found
        answered = self._try("database", without_password(url), lambda: read_database(url))
        return answered or found

    def _site(self, url: str) -> Site | None:
        site = self._try("site", without_password(url), lambda: read_site(url))
        if site is not None and site.error:
            message = f"does not answer: {site.error}"
            self._unreadable.append(Unreadable("site", site.url, 0, message))
        return site

    def _kept(self, read: tuple[_T, list[Unreadable]]) -> _T:
        self._unreadable += read[1]
        return read[0]

    def _try(self, what: str, file: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except NotReadError as error:
            self._unreadable.append(error.unreadable)
        except Exception as error:
            words = " ".join(without_password(f"{type(error).__name__}: {error}").split())
            message = f"cannot be looked at, by a mistake of commonpool's own: {words[:300]}"
            self._unreadable.append(Unreadable(what, file, 0, message))
        return None


def _with_limits(host: Host | None, services: Services | None) -> Host | None:
    """With the limits that the compose file gives the application's container."""
    if host is None or services is None:
        return host
    limits = services.compose.limits
    own = {name: limits[name] for name in ("nofile", "nproc", "somaxconn") if name in limits}
    processes = [limits[name] for name in ("nproc", "pids") if name in limits]
    if processes:
        own["nproc"] = min(processes, key=lambda setting: float(setting.value))
    return dataclasses.replace(host, values={**host.values, **own})


def _unseen(server: Uwsgi) -> dict[str, Setting]:
    """What ``env`` sets in vain: Python had copied its environment before uWSGI was there."""
    if not is_wheel() or server.is_on("reload-os-env"):
        return {}
    names = [str(one.value).partition("=")[0] for one in server.options.get("env", ())]
    return {name: server.environ[name] for name in names if name in server.environ}


def _modes(server: Uwsgi) -> dict[str, int]:
    """The modes of the UNIX sockets that are there, by their paths."""
    found = {}
    for name in ("socket", "http-socket"):
        for setting in server.options.get(name, ()):
            with contextlib.suppress(OSError, ValueError):
                mode = Path(str(setting.value)).stat().st_mode
                if stat.S_ISSOCK(mode):
                    found[str(setting.value)] = stat.S_IMODE(mode)
    return found


def _at_hand(environ: Mapping[str, Setting]) -> dict[str, Setting]:
    """Without a compose file's variables that name files of its containers, such as secrets."""
    return {
        name: setting
        for name, setting in environ.items()
        if not (
            setting.file.endswith((".yml", ".yaml"))
            and name.endswith("_FILE")
            and not Path(str(setting.value)).exists()
        )
    }


def _both(read: Application | None, loaded: Application | None) -> Application | None:
    """What was found by loading, with the places that the code says."""
    if read is None or loaded is None:
        return loaded or read
    return dataclasses.replace(
        loaded,
        engines=[_with_place(engine, read.engines) for engine in loaded.engines],
        pool_made_at_import=_pool_made(read.pool_made_at_import, loaded.pool_made_at_import),
        debug=loaded.debug and (read.debug or loaded.debug),
        reloader=read.reloader,
        loop=read.loop or loaded.loop,
        pool=read.pool,
        adapted=loaded.adapted and (read.adapted or loaded.adapted),
    )


def _pool_made(read: Setting | None, loaded: Setting | None) -> Setting | None:
    if read is not None and (loaded is not None or read.value == "executor"):
        return read  # an executor of somebody else's is not looked for by loading
    return loaded


def _with_place(engine: Engine, others: Sequence[Engine]) -> Engine:
    """The engine with what only the code tells of it: where it is made, its statement limit."""
    named = [other for other in others if other.name == engine.name]
    alike = [other for other in others if _kind(other) == _kind(engine)]
    same = named if len(named) == 1 else alike
    if len(same) != 1:
        return engine
    limit = same[0].values.get("statement_seconds")
    more = {} if limit is None else {"statement_seconds": limit}
    place = same[0].made_at_import or engine.made_at_import
    values = {**engine.values, **more}
    return Engine(engine.name, values, place, same[0].is_flask)


def _kind(engine: Engine) -> object:
    found = engine.values.get("poolclass")
    return None if found is None else found.value
