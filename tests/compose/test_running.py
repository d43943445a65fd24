"""What becomes of the stack: started again, stopped, set wrongly, its database restarted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from stack.native.waiting import wait_until
from tests.compose.engine import Stack, docker
from tests.compose.statements import wait_for_statements

SLOW = "/sleep/sql?queries=3&seconds=2"


def test_data_and_passwords_outlive_the_containers(own_stack: Stack) -> None:
    stack = own_stack
    before = _answers(stack)
    password = stack.container("db").execute("cat", "/run/secrets/db/password")
    database = stack.container("db").about["Id"]

    stack.down()
    assert stack.containers() == []
    stack.up()

    assert stack.container("db").about["Id"] != database
    assert stack.container("db").execute("cat", "/run/secrets/db/password") == password
    assert _answers(stack) == before
    assert "All 336,776 flights are there" in stack.logs("load")


def test_up_again_changes_nothing(own_stack: Stack) -> None:
    stack = own_stack
    before = {c.name: c.about["State"]["StartedAt"] for c in stack.containers("nginx", "app", "db")}

    stack.up()

    after = {c.name: c.about["State"]["StartedAt"] for c in stack.containers("nginx", "app", "db")}
    assert after == before


@pytest.mark.parametrize("service", ["app", "nginx", None], ids=["app", "nginx", "all of it"])
def test_a_graceful_stop_answers_what_is_being_answered(
    own_stack: Stack, service: str | None
) -> None:
    stack = own_stack
    with ThreadPoolExecutor(4) as threads, httpx.Client(trust_env=False, timeout=60) as client:
        asked = [threads.submit(client.get, stack.url + SLOW) for _ in range(4)]
        wait_for_statements(stack, 4 * 3)

        stack.compose("stop", *([service] if service else []))

        assert [future.result().status_code for future in asked] == [200] * 4
    ended = stack.containers(*([service] if service else ["nginx", "app", "db"]))
    assert ended
    for container in ended:
        state = container.about["State"]
        assert state["Running"] is False
        assert state["ExitCode"] != 137, f"{container.name} was killed: {state}"
        assert state["OOMKilled"] is False


def test_a_replica_that_ends_refuses_at_once_while_it_answers(own_stack: Stack) -> None:
    stack = own_stack
    app = stack.container("app")
    with ThreadPoolExecutor(2) as threads, httpx.Client(trust_env=False, timeout=60) as client:
        asked = threads.submit(client.get, stack.url + SLOW)
        wait_for_statements(stack, 3)
        stopping = threads.submit(docker, "stop", app.name)
        wait_until(lambda: "graceful shutdown triggered" in stack.logs("app"), limit=10)

        # Not one that waits in the queue of a socket which nobody accepts from any more.
        began = time.monotonic()
        refused = client.get(stack.url + "/api/dashboard")
        took = time.monotonic() - began

        assert not asked.done()
        assert refused.status_code == 502
        assert refused.json()
        assert took < 1.5
        assert asked.result().status_code == 200
        stopping.result()


def test_a_restart_of_the_database_is_survived(own_stack: Stack) -> None:
    stack = own_stack
    app = stack.container("app").about["State"]["StartedAt"]
    seen: list[int] = []
    enough = threading.Event()

    def keep_asking() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not enough.is_set():
                seen.append(client.get(stack.url + "/api/dashboard").status_code)

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(keep_asking) for _ in range(2)]
        try:
            wait_until(lambda: len(seen) >= 4, limit=60)
            stack.compose("restart", "db")
            count = len(seen)
            wait_until(lambda: seen[count:].count(200) >= 4, limit=60)
        finally:
            enough.set()
        for future in asking:
            future.result()

    assert seen[0] == seen[-1] == 200
    assert set(seen) <= {200, 500, 502, 503, 504}
    assert stack.container("app").about["State"]["StartedAt"] == app
    with httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(8):
            assert client.get(stack.url + "/api/dashboard").status_code == 200


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param(
            {"MARIADB_MAX_CONNECTIONS": "70"},
            "1 replica x 2 processes x (24 + 8 + 1) connections = 66; 8 request threads and "
            "24 workers in each process. MariaDB takes 70 (max_connections), 10 of which are for "
            "others: set MARIADB_MAX_CONNECTIONS to 76 or more",
            id="too few connections",
        ),
        pytest.param(
            {"STACK_REPLICAS": "2", "MARIADB_MAX_CONNECTIONS": "100"},
            "2 replicas x 2 processes x (24 + 8 + 1) connections = 132",
            id="too many replicas",
        ),
        pytest.param(
            {"STACK_THREADS": "eight"},
            "STACK_THREADS is 'eight'; it must be a whole number from 1 to 1000",
            id="no number",
        ),
        pytest.param(
            {"COMMONPOOL_OVERFLOW": "discard"},
            "COMMONPOOL_OVERFLOW='discard': must be 'caller_runs' or 'reject'",
            id="no such overflow",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_start(
    make_stack: Callable[..., Stack], settings: dict[str, str], says: str
) -> None:
    stack = make_stack("db", settings=settings)

    done = stack.compose("run", "--rm", "--no-deps", "app", check=False)

    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert f"stack: refused to start: {says}" in said
    assert "Traceback" not in said


def test_what_the_doctor_finds_is_refused_at_start_or_said(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack("db", settings={"COMMONPOOL_DEADLINE": "45"})

    done = stack.compose("run", "--rm", "--no-deps", "app", check=False)

    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "FAIL  deadline-not-below-harakiri" in said
    assert "stack: refused to start: 1 failure, above" in said


def test_a_wrong_password_is_refused_at_start(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack("db")
    docker(
        "run", "--rm", "--user", "0", "--volume", f"{stack.name}_db-password:/secrets",
        "mariadb:11.8", "sh", "-c", "echo another > /secrets/password",
    )  # fmt: skip

    done = stack.compose("run", "--rm", "--no-deps", "app", check=False)

    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "the database refuses it: Access denied for user 'flights'" in said
    assert "another" not in said
    assert "Traceback" not in said


def _answers(stack: Stack) -> object:
    answer = httpx.get(stack.url + "/api/dashboard", trust_env=False, timeout=60)
    return answer.raise_for_status().json()["results"]
