"""The whole soak, at a database that is there already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stack.native import servers
from stack.native.processes import group_members
from stack.soak import numbers
from stack.soak.client import Clients
from stack.soak.counts import FOLDER
from stack.soak.reloads import Reloads
from stack.soak.run import CLIENTS, Run
from stack.soak.times import Times
from stack.soak.verdict import faults


def soak_at(
    url: str,
    folder: Path,
    *,
    seconds: float,
    tasks: int,
    seed: int,
    growth: float,
    tell: Callable[[str, float], None] = lambda _what, _share: None,
) -> tuple[Run, list[str]]:
    """Run uWSGI and nginx, soak them, and stop them.

    Args:
        url: of a database, in which a small table is made.
        folder: for logs and the like.
        seconds: how long the load is to last.
        tasks: how many there should be, at least.
        seed: of all random numbers.
        growth: how much memory may grow, as a share.
        tell: see `Run.go`.

    Returns:
        What has happened, and what is wrong with it.

    Raises:
        NativeError: a server did not start, or has ended.
        TimeoutError: it did not come to rest.
    """
    farewells = folder / "farewells"
    farewells.mkdir(parents=True, exist_ok=True)
    numbers.load(url)
    environ = {
        "STACK_APPLICATION": "stack.soak.application:application",
        "STACK_PROCESSES": "2",
        FOLDER: str(farewells),
    }
    with servers.site(folder, url, environ=environ) as site:
        run = Run(Times(seconds), Clients(site.nginx.url, seed, CLIENTS), Reloads(site.uwsgi))
        try:
            run.go(site, tell)
        except KeyboardInterrupt:
            # Nobody wants the answers; and while it loads the application, in a reload, uWSGI
            # would not end before its mercy does.
            site.uwsgi.child.kill()
            raise
    run.collect_farewells(farewells)
    left = group_members(site.uwsgi.child.pid)
    return run, list(faults(run, tasks=tasks, growth=growth, left=left))
