"""nginx and uWSGI with an application that shows what it gets."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from stack.native.nginx import TLS, nginx
from stack.native.ports import free_port
from stack.native.servers import Site, run_folder
from stack.native.uwsgi import uwsgi
from tests.integration.helpers import group_members, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stack.native.nginx import Nginx


@contextmanager
def echo_site(
    folder: Path, *, settings: Mapping[str, str] | None = None, tls: TLS | None = None
) -> Iterator[Site]:
    """Run it, with settings of one's own for nginx."""
    database = folder / "empty.db"
    database.touch()
    environ = {
        **os.environ,
        "STACK_APPLICATION": "tests.integration.echo_app:application",
        "STACK_PROCESSES": "1",
        "DATABASE_URL": f"sqlite:///{database}",
    }
    with (
        run_folder() as run,
        uwsgi(folder / "uwsgi.log", environ, run=run) as application,
        nginx(
            folder / "nginx",
            port=free_port(),
            uwsgi_socket=application.socket,
            settings=settings,
            tls=tls,
        ) as front,
    ):
        yield Site(application, front)


def client_at(address: str, url: str) -> httpx.Client:
    """A client that comes from an address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=url, transport=transport, trust_env=False, timeout=60)


def folder_of(front: Nginx) -> Path:
    """Where the configuration of a running nginx lies."""
    return front.child.log.parents[1] / "nginx"


def reload(front: Nginx) -> None:
    """Have nginx read its configuration anew, and wait until only new processes are there."""

    def workers() -> set[int]:
        """All worker processes; none as long as there are fewer, or more, than there are to be."""
        found = {*group_members(front.child.pid)} - {front.child.pid}
        return found if len(found) == os.cpu_count() else set()  # worker_processes auto

    # nginx listens before it has started them.
    before = wait_until(workers, 30, what="the processes of nginx")
    front.child.send(signal.SIGHUP)
    wait_until(lambda: (now := workers()) and not now & before, 30, what="new processes of nginx")
