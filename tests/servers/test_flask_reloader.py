"""Flask's development server: a changed file, and what becomes of the old process."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.servers.kinds import FLASK_APP, KINDS
from tests.servers.running import Running

Start = Callable[..., Running]


def test_a_changed_file_is_served_by_a_new_process_with_a_pool_of_its_own(start: Start) -> None:
    running = start(KINDS["flask-run"])
    before = running.get("/version").json()
    assert before["version"] == 1
    with running.get_meanwhile("/in_flight") as answer:
        (old,) = running.wait_for("arrived")
        (running.folder / "app.py").write_text(FLASK_APP.format(version=2))
        with pytest.raises(httpx.TransportError):
            answer()

    def changed() -> bool:
        try:
            return running.get("/version").json()["version"] == 2
        except httpx.TransportError:  # between the two processes
            return False

    running.wait(changed, "the new code")
    running.wait_for_end(old)
    running.wait_for_log(r"left behind after 1\.\d s .* running: .*held")
    tasks = running.get("/version").json()["tasks"]
    assert {pid for pid, _ in tasks} == running.worker_pids()
    assert old not in running.worker_pids()
    assert len({thread for _, thread in tasks}) == 4
