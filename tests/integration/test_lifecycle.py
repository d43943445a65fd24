"""Reloading and stopping, while requests are being answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stack.native import servers
from tests.integration.helpers import get_in_flight, group_members, new_client, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from stack.native.mariadb import MariaDB
    from stack.native.servers import Site


def renewed(site: Site, before: list[int]) -> bool:
    """Whether every worker process can answer, and none is one of those before."""
    now = site.uwsgi.worker_pids()
    return len(now) == len(before) and not set(now) & set(before)


def test_sigterm_answers_the_request_in_flight(make_site: Callable[..., Site]) -> None:
    site = make_site()
    with get_in_flight(site, "/sleep/sql", seconds=1.5, queries=4) as answer:
        site.uwsgi.stop()
        assert answer().status_code == 200
    assert group_members(site.uwsgi.child.pid) == []


def test_a_reload_answers_the_request_in_flight_and_renews_the_processes(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    master, before = site.uwsgi.child.pid, site.uwsgi.worker_pids()
    with get_in_flight(site, "/sleep/sql", seconds=1.5, queries=4) as answer:
        site.uwsgi.reload()
        assert answer().status_code == 200
    wait_until(lambda: renewed(site, before), 30, what="new worker processes")
    assert site.uwsgi.child.pid == master
    with new_client(site.nginx.url) as client:
        assert client.get("/sleep/sql", params={"seconds": 0, "queries": 4}).status_code == 200


@pytest.mark.parametrize("own", [None, "glibc.malloc.tcache_count=3"])
def test_the_c_library_is_told_how_to_keep_memory_in_every_process(
    make_site: Callable[..., Site], own: str | None
) -> None:
    site = make_site(**({} if own is None else {"GLIBC_TUNABLES": own}))
    expected = own or "glibc.malloc.tcache_count=0"

    def told(pid: int) -> bool:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return f"GLIBC_TUNABLES={expected}".encode() in environ

    before = site.uwsgi.worker_pids()
    assert all(told(pid) for pid in (site.uwsgi.child.pid, *before))
    site.uwsgi.reload()
    wait_until(lambda: renewed(site, before), 60, what="new worker processes")
    assert all(told(pid) for pid in (site.uwsgi.child.pid, *site.uwsgi.worker_pids()))


def test_a_request_that_comes_during_a_reload_waits_and_is_answered(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    before = site.uwsgi.worker_pids()
    with get_in_flight(site, "/sleep/python", seconds=1) as answer:
        site.uwsgi.reload()
        with new_client(site.nginx.url) as client:
            assert client.get("/healthz").status_code == 200
        assert answer().status_code == 200
    wait_until(lambda: renewed(site, before), 30, what="new worker processes")


def test_a_chain_reload_of_an_idle_server_renews_one_process_after_the_other(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    before = site.uwsgi.worker_pids()
    site.uwsgi.socket.with_name("uwsgi.fifo").write_text("c")
    wait_until(lambda: renewed(site, before), 30, what="new worker processes")


def test_nothing_outlives_the_stop(database: MariaDB, tmp_path: Path) -> None:
    with servers.site(tmp_path, database.url) as site:
        leaders = [site.uwsgi.child.pid, site.nginx.child.pid]
        assert [len(group_members(leader)) > 1 for leader in leaders] == [True, True]
        run = site.uwsgi.socket.parent
        with new_client(site.nginx.url) as client:
            client.get("/api/dashboard")
    assert [group_members(leader) for leader in leaders] == [[], []]
    assert not run.exists()


def test_nothing_outlives_a_killed_master(make_site: Callable[..., Site]) -> None:
    site = make_site()
    workers = site.uwsgi.worker_pids()
    site.uwsgi.child.kill()
    wait_until(lambda: group_members(site.uwsgi.child.pid) == [], what=f"the end of {workers}")
