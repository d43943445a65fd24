"""Facts about the middleware under uWSGI, with a probe instead of the application."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stack.native.errors import NativeError
from stack.native.ports import answers, free_port
from stack.native.uwsgi import UWSGI, uwsgi
from tests.integration.helpers import group_members, new_client, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

ROOT = Path(__file__).resolve().parents[2]


class Probe:
    """The probe under uWSGI, speaking HTTP."""

    def __init__(self, server: UWSGI, port: int, events: Path) -> None:
        self.server = server
        self.port = port
        self._events = events

    def get(self, path: str) -> httpx.Response:
        with new_client(f"http://127.0.0.1:{self.port}") as client:
            return client.get(path)

    def events(self) -> list[str]:
        """What happened, without process ids."""
        return [line.split()[0] for line in self._events.read_text().splitlines()]

    def pids(self, event: str) -> set[int]:
        """The processes in which it happened."""
        lines = (line.split() for line in self._events.read_text().splitlines())
        return {int(pid) for name, pid in lines if name == event}


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Callable[..., Probe]]:
    """Starts the probe: options of uWSGI with underscores, variables in capitals."""
    with ExitStack() as stack:

        def run(**settings: str) -> Probe:
            port = free_port()
            options = {
                "strict": "true",
                "master": "true",
                "need-app": "true",
                "single-interpreter": "true",
                "enable-threads": "true",
                "threads": "2",
                "processes": "2",
                "hook-master-start": "unix_signal:15 gracefully_kill_them_all",
                "http-socket": f"127.0.0.1:{port}",
                "stats": "$(STACK_RUN_DIR)/stats.sock",
                "pythonpath": str(ROOT),
                "module": "tests.integration.probe_app:application",
                "reload-os-env": "true",
                "binary-path": "$(STACK_PYUWSGI)",
            }
            variables = {"PROBE_EVENTS": str(tmp_path / "events")}
            for name, value in settings.items():
                if name.isupper():
                    variables[name] = value
                else:
                    options[name.replace("_", "-")] = value
            ini = tmp_path / "probe.ini"
            lines = [f"{name} = {value}" for name, value in options.items()]
            ini.write_text("\n".join(["[uwsgi]", *lines, ""]))
            server = stack.enter_context(
                uwsgi(tmp_path / "uwsgi.log", {**os.environ, **variables}, run=tmp_path, ini=ini)
            )
            wait_until(lambda: answers(port), what="the probe")
            return Probe(server, port, tmp_path / "events")

        yield run


def test_the_deadline_is_nine_tenths_of_harakiri(probe: Callable[..., Probe]) -> None:
    seconds = probe(harakiri="20").get("/deadline").json()
    assert 17 < seconds <= 18


def test_without_harakiri_there_is_no_deadline(probe: Callable[..., Probe]) -> None:
    assert probe().get("/deadline").json() == float("inf")


def test_harakiri_is_never_reached_because_the_deadline_comes_first(
    probe: Callable[..., Probe],
) -> None:
    running = probe(harakiri="3", COMMONPOOL_DEADLINE="0.5")
    before = running.server.worker_pids()
    answer = running.get("/late")
    assert answer.status_code == 504
    assert answer.headers["content-type"].startswith("text/plain")
    assert running.server.worker_pids() == before


def test_a_saturated_pool_is_a_503_before_the_headers(probe: Callable[..., Probe]) -> None:
    answer = probe(PROBE_SMALL="1", processes="1").get("/saturate")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"].startswith("text/plain")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("lazy", ["true", "false"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_background_work_is_drained_and_an_earlier_exit_hook_is_called(
    probe: Callable[..., Probe], number: signal.Signals, lazy: str
) -> None:
    running = probe(PROBE_HOOK="1", lazy_apps=lazy, processes="1")
    (worker,) = running.server.worker_pids()
    assert running.get("/background").status_code == 200
    wait_until(lambda: "background-started" in running.events(), what="the task to start")
    running.server.child.send(number)
    wait_until(lambda: worker in running.pids("earlier-hook"), 30, what="the hook")
    assert running.pids("background-finished") == {worker}
    assert running.events().index("background-finished") < running.events().index("earlier-hook")


def test_a_wrong_setting_is_an_error_at_start(probe: Callable[..., Probe]) -> None:
    with pytest.raises(NativeError, match="COMMONPOOL_MAX_WORKERS='many'"):
        probe(COMMONPOOL_MAX_WORKERS="many")


def test_the_stop_leaves_no_process(probe: Callable[..., Probe]) -> None:
    running = probe()
    running.get("/parallel")
    running.server.stop()
    assert group_members(running.server.child.pid) == []
