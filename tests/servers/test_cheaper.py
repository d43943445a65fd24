"""uWSGI's cheaper mode: fewer worker processes while there is little to do.

With one thread in each process: with several, uWSGI's idle processes notice it late or not at all.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.servers.kinds import UWSGI
from tests.servers.running import Running

Start = Callable[..., Running]

CHEAPER = {"cheaper": "1", "cheaper_initial": "2", "cheaper_algo": "manual"}
TWO_PROCESSES = UWSGI(options=CHEAPER, answering=2)


def fewer(running: Running) -> None:
    """Order one worker process less."""
    (running.folder / "fifo").write_text("-")


def test_a_process_that_is_not_needed_ends_although_a_task_never_returns(start: Start) -> None:
    running = start(TWO_PROCESSES, COMMONPOOL_MAX_WORKERS="256")  # each request takes two
    before = running.worker_pids()
    used: set[int] = set()

    def both_used() -> bool:
        used.add(running.get("/never").json())
        return used == before

    running.wait(both_used, "both processes to be used")
    fewer(running)
    running.wait(lambda: running.get("/stats") and len(running.worker_pids()) == 1, "one process")
    running.wait_for_log(r"left behind after 1\.\d s .* running: .*never_returns")
    assert running.get("/stats").json()["pid"] in before


def test_a_process_with_a_request_in_flight_is_not_the_one_to_end(start: Start) -> None:
    running = start(TWO_PROCESSES)
    before = running.worker_pids()
    with running.get_meanwhile("/in_flight") as answer:
        (pid,) = running.wait_for("arrived")
        fewer(running)
        running.wait(lambda: len(running.worker_pids()) == 1, "one process")
        running.open("go")
        assert answer().status_code == 200
    assert running.worker_pids() == {pid} < before
