"""A quiet moment: no request, no task; what each worker process has then."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stack.native.servers import Site
from stack.native.waiting import wait_until
from stack.soak.client import connect, get
from stack.soak.processes import Process, look

LIMIT = 90.0  # seconds for the last tasks to end, and for every process to answer

AT_ONCE = 16
"""Requests that are sent together to reach every process: as many as there are request threads."""

HOLD = 0.1  # seconds that each of them stays


@dataclass(frozen=True)
class Quiet:
    """What there is at a quiet moment.

    Attributes:
        processes: what /proc says, by process id.
        states: what the processes say of themselves, by process id.
    """

    processes: Mapping[int, Process]
    states: Mapping[int, Mapping[str, Any]]


def fill(site: Site) -> None:
    """Have every process start all its workers, and open all connections that it keeps.

    Raises:
        TimeoutError: one of them did not.
    """
    _ask_all(site, f"/soak/fill?hold={HOLD}")


def quiet(site: Site) -> Quiet:
    """Wait until nothing is going on, and look.

    Raises:
        TimeoutError: something went on for too long; with what it was.
    """
    states: dict[int, Mapping[str, Any]] = {}

    def settled() -> bool:
        states.clear()
        states.update(_ask_all(site, f"/soak/state?hold={HOLD}"))
        return all(is_idle(state) for state in states.values())

    try:
        wait_until(settled, LIMIT, what="a quiet moment")
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {states}") from None
    wait_until(lambda: not _requests(site), LIMIT, what="the end of the last request")
    return Quiet({pid: look(pid) for pid in site.uwsgi.worker_pids()}, states)


def is_idle(state: Mapping[str, Any]) -> bool:
    """Whether nothing is going on in a process."""
    pool, counts = state["pool"], state["counts"]
    done = counts.get("background done", 0) == counts.get("background submitted", 0)
    return done and not (
        pool["busy"]
        or pool["abandoned"]
        or pool["queued"]
        or pool["owners_waiting"]
        or state["checked_out"]
    )


def _requests(site: Site) -> int:
    workers = site.uwsgi.stats()["workers"]
    return sum(core["in_request"] for worker in workers for core in worker["cores"])


def _ask_all(site: Site, path: str) -> dict[int, Mapping[str, Any]]:
    """Send a request to every worker process: many at once, until each has had one."""
    answers: dict[int, Mapping[str, Any]] = {}

    def ask(_: int) -> None:
        connection = connect(site.nginx.url)
        try:
            answer = get(connection, path)
            answers[answer["pid"]] = answer
        except ValueError:  # too many at once: others are answered
            pass
        finally:
            connection.close()

    def all_asked() -> bool:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(ask, range(AT_ONCE)))
        return set(site.uwsgi.worker_pids()) <= set(answers)

    try:
        wait_until(all_asked, LIMIT, what="an answer of every process")
    except (OSError, http.client.HTTPException) as error:
        raise TimeoutError(f"{path}: {error!r}") from error
    return {pid: answers[pid] for pid in site.uwsgi.worker_pids()}
