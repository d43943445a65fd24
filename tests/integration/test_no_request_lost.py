"""Reloads and restarts under a steady load, through nginx: every request is answered with 200."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from stack.native import servers
from stack.native.nginx import nginx
from stack.native.ports import free_port
from stack.native.servers import run_folder
from stack.native.uwsgi import ENVIRON, INI
from tests.integration.held_socket import QUEUE, Service, held_socket
from tests.integration.helpers import wait_until
from tests.integration.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stack.native.mariadb import MariaDB
    from stack.native.uwsgi import UWSGI

# A request with a fan-out to the database: what it takes is far below a second.
PATH = "/sleep/sql?seconds=0.01&queries=3"

STARTS_QUICKLY = {"STACK_APPLICATION": "tests.integration.fan_out_app:application"}

RATE = 20  # requests a second
MOST = 60  # under way at a time: what has to wait for a slow reload does not run into the limit

RELOADS = 20

ANSWERS = 34  # that are waited for, between one thing and the next


def settings(text: str) -> dict[str, str]:
    """What a file of uWSGI's or of systemd's sets; of a setting that comes twice, the last."""
    return dict(re.findall(r"^([A-Za-z-]+) ?= ?(.+)$", text, re.MULTILINE))


def test_the_documented_units_fit_uwsgi_ini() -> None:
    ini = settings(INI.read_text())
    page = (INI.parent / "docs" / "operations.md").read_text()
    units = settings(page)
    assert int(units["Backlog"]) == int(ini["listen"]) == QUEUE
    assert units["ListenStream"] == f"/run/{units['RuntimeDirectory']}/uwsgi.sock"
    assert int(units["TimeoutStopSec"]) > int(ini["worker-reload-mercy"])
    assert units["KillMode"] == "mixed"
    assert units["RuntimeDirectoryPreserve"] == "yes"
    for name, value in ENVIRON.items():
        assert (
            f"\nEnvironment={name}={value}\n" in (INI.parent / "docs" / "operations.md").read_text()
        )


def renew(server: UWSGI, ask: Callable[[], object]) -> None:
    """Have all worker processes renewed in the way that `ask` does, and wait for the new ones."""
    before = set(server.worker_pids())
    assert len(before) == 2

    def renewed() -> bool:
        now = set(server.worker_pids())
        return len(now) == len(before) and not now & before

    ask()
    wait_until(renewed, 60, what="new worker processes")


def wait_for_answers(load: Load) -> None:
    """Wait until the load is being answered."""
    enough = len(load.answers) + ANSWERS
    wait_until(lambda: len(load.answers) >= enough, 60, what="answers")


def assert_all_answered(load: Load, at_least: int) -> None:
    assert set(load.statuses()) == {200}, load.statuses()
    assert len(load.answers) >= at_least


@pytest.mark.timeout(400)
def test_twenty_reloads_lose_no_request(tmp_path: Path) -> None:
    with (
        servers.site(tmp_path, "sqlite://", environ=STARTS_QUICKLY) as site,
        Load(site.nginx.url, "/", RATE, MOST) as load,
    ):
        for _ in range(RELOADS):
            renew(site.uwsgi, site.uwsgi.reload)
            wait_for_answers(load)
    assert_all_answered(load, at_least=200)


def test_reloads_and_chain_reloads_of_the_whole_stack_lose_no_request(
    empty_database: MariaDB, tmp_path: Path
) -> None:
    with (
        servers.site(tmp_path, empty_database.url) as site,
        Load(site.nginx.url, PATH, RATE, MOST) as load,
    ):
        fifo = site.uwsgi.socket.with_name("uwsgi.fifo")
        for _ in range(2):
            renew(site.uwsgi, site.uwsgi.reload)
            wait_for_answers(load)
            renew(site.uwsgi, lambda: fifo.write_text("c"))
            wait_for_answers(load)
    assert_all_answered(load, at_least=100)


@pytest.mark.parametrize("protocol", ["LISTEN_FDS", "fd://"])
def test_a_restart_behind_a_socket_that_outlives_it_loses_no_request(
    tmp_path: Path, protocol: str
) -> None:
    environ = {**os.environ, **STARTS_QUICKLY}
    with run_folder() as run, held_socket(path := run / "uwsgi.sock") as listener:
        made = path.stat()
        service = Service(run, environ, protocol, listener, tmp_path / "uwsgi.log")
        try:
            with (
                nginx(tmp_path / "nginx", port=free_port(), uwsgi_socket=path) as front,
                Load(front.url, "/", RATE, MOST) as load,
            ):
                wait_until(lambda: load.under_way >= 10, what="requests that wait for the service")
                service.start()
                for _ in range(2):
                    wait_for_answers(load)
                    assert service.stop() == 0
                    wait_until(lambda: load.under_way >= 5, what="requests that wait for the next")
                    service.start()
                wait_for_answers(load)
                renew(service.server, service.reload)
                assert service.stop() == 0
                service.start()
            assert service.stop() == 0
        finally:
            service.kill()
        now = path.stat()
    assert_all_answered(load, at_least=100)
    assert (now.st_ino, stat.S_IMODE(now.st_mode)) == (made.st_ino, 0o640)
