"""What the integration tests look at processes with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from stack.native.ports import answers, free_port
from stack.native.processes import group_members
from stack.native.uwsgi import uwsgi
from stack.native.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.native.servers import Site
    from stack.native.uwsgi import UWSGI

__all__ = [
    "access_log",
    "busy_threads",
    "get_in_flight",
    "group_members",
    "new_client",
    "threads",
    "wait_until",
]


ROOT = Path(__file__).resolve().parents[2]


def new_client(url: str) -> httpx.Client:
    """A client that looks at no proxy settings, and waits longer than any limit of the stack."""
    return httpx.Client(base_url=url, trust_env=False, timeout=60)


def access_log(log: Path) -> list[dict[str, Any]]:
    """What nginx has logged of each request; not of one whose line is not yet whole."""
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def threads(pid: int) -> int:
    """How many threads a process has; none when it has ended."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except FileNotFoundError:
        return 0


def busy_threads(server: UWSGI, pid: int | None = None) -> int:
    """How many requests are being answered at the moment; by one of the processes, or by all."""
    return sum(
        core["in_request"]
        for worker in server.stats()["workers"]
        if pid in (None, worker["pid"])
        for core in worker["cores"]
    )


@contextmanager
def get_in_flight(
    site: Site, path: str, **parameters: Any
) -> Iterator[Callable[[], httpx.Response]]:
    """Have a GET request be answered meanwhile; what is yielded waits for the answer."""
    with new_client(site.nginx.url) as client, ThreadPoolExecutor(1) as thread:
        future: Future[httpx.Response] = thread.submit(client.get, path, params=parameters)
        wait_until(lambda: busy_threads(site.uwsgi), what="the request to arrive")
        yield future.result


class Probe:
    """An application of a test's own under uWSGI, which speaks HTTP itself."""

    def __init__(self, server: UWSGI, port: int) -> None:
        self.server = server
        self.port = port

    def get(self, path: str) -> Any:
        """What a request is answered with."""
        with new_client(f"http://127.0.0.1:{self.port}") as client:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            return answer.json()


@contextmanager
def probe_of(
    module: str, folder: Path, *, threads_each: int = 4, **environ: str
) -> Iterator[Probe]:
    """Run an application under uWSGI; its master loads it, then forks two processes.

    Args:
        module: and the name of the application in it.
        folder: for its configuration and its log.
        threads_each: of its processes.
        environ: variables beside those of this process.
    """
    port = free_port()
    options = {
        "strict": "true",
        "master": "true",
        "need-app": "true",
        "single-interpreter": "true",
        "enable-threads": "true",
        "threads": str(threads_each),
        "processes": "2",
        "hook-master-start": "unix_signal:15 gracefully_kill_them_all",
        "http-socket": f"127.0.0.1:{port}",
        "stats": "$(STACK_RUN_DIR)/stats.sock",
        "pythonpath": str(ROOT),
        "module": module,
        "binary-path": "$(STACK_PYUWSGI)",
    }
    ini = folder / "probe.ini"
    lines = [f"{name} = {value}" for name, value in options.items()]
    ini.write_text("\n".join(["[uwsgi]", *lines, ""]))
    with uwsgi(folder / "uwsgi.log", {**os.environ, **environ}, run=folder, ini=ini) as server:
        wait_until(lambda: answers(port), what="the probe")
        yield Probe(server, port)
