"""Several replicas of the application: all of them answer, and none is missed when it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import httpx

from stack.native.waiting import wait_until
from tests.compose.engine import Stack, docker
from tests.compose.statements import wait_for_statements
from tests.integration.load import Load

PATH = "/sleep/sql?queries=3&seconds=0.1"
RATE = 15.0  # requests a second


def test_replicas_come_and_go_under_load_without_an_error(own_stack: Stack) -> None:
    stack = own_stack
    stack.up("--scale", "app=3")
    first, second, third = (container.name for container in stack.containers("app"))
    wait_until(lambda: len(_answering(stack)) == 3, limit=60)

    with Load(stack.url, PATH, rate=RATE, most=100) as load:
        _some_answers(load)
        docker("stop", second)
        _some_answers(load)
        docker("kill", third)
        _some_answers(load)
        docker("start", second)
        _some_answers(load)
        stack.up("--no-recreate", "--scale", "app=4")
        _some_answers(load)
        docker("rm", "--force", first)
        _some_answers(load)
        stack.up("--no-recreate", "--scale", "app=3")
        _some_answers(load)

    ended = Counter((answer.status, answer.error) for answer in load.answers)
    assert set(ended) == {(200, "")}, ended
    assert ended.total() >= 7 * RATE
    wait_until(lambda: len(_answering(stack)) == 3, limit=60)


def test_a_request_whose_replica_is_killed_is_answered_by_another(own_stack: Stack) -> None:
    stack = own_stack
    stack.up("--scale", "app=2")
    with Load(stack.url, "/sleep/sql?queries=2&seconds=4", rate=4, most=4) as load:
        wait_for_statements(stack, 4 * 2)
        docker("kill", stack.containers("app")[0].name)
        wait_until(lambda: len(load.answers) >= 4, limit=60)

    assert {answer.status for answer in load.answers} == {200}
    retried = [line for line in stack.access_log() if len(line["upstream_status"]) > 1]
    assert retried, "one of the two had some of the four"


def test_new_code_takes_the_place_of_old_one_replica_after_the_other(own_stack: Stack) -> None:
    stack = own_stack
    stack.up("--scale", "app=2")
    old = [container.name for container in stack.containers("app")]

    with Load(stack.url, PATH, rate=RATE, most=100) as load:
        _some_answers(load)
        # as docs/operations.md has it: twice as many, of which the old ones then go
        stack.up("--no-recreate", "--scale", "app=4", STACK_STATEMENT_SECONDS="27.5")
        for name in old:
            docker("stop", name)
            docker("rm", name)
        _some_answers(load)

    ended = Counter((answer.status, answer.error) for answer in load.answers)
    assert set(ended) == {(200, "")}, ended
    new = stack.containers("app")
    assert len(new) == 2
    assert all("STACK_STATEMENT_SECONDS=27.5" in c.about["Config"]["Env"] for c in new)


def test_what_all_replicas_add_up_to_is_looked_at_when_one_starts(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(settings={"MARIADB_MAX_CONNECTIONS": "150"})

    stack.compose("up", "--detach", "--no-recreate", "--scale", "app=3", check=False)

    wait_until(lambda: "refused to start" in stack.logs("app"), limit=60)
    assert "MariaDB takes 150 (max_connections)" in stack.logs("app")
    # those that fit are not harmed
    answer = httpx.get(stack.url + "/healthz", trust_env=False, timeout=60)
    assert answer.status_code == 200


def _answering(stack: Stack) -> set[str]:
    """Which replicas answer 30 requests, by their addresses."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        given = [client.get(stack.url + "/static/none").headers["X-Request-ID"] for _ in range(2)]
        given += [client.get(stack.url + PATH).headers["X-Request-ID"] for _ in range(12)]
    lines = [line for line in stack.access_log() if line["id"] in given]
    return {line["upstream"] for line in lines if line["upstream_status"] == [200]}


def _some_answers(load: Load) -> None:
    """Wait for two seconds' answers more."""
    enough = len(load.answers) + 2 * RATE
    wait_until(lambda: len(load.answers) >= enough, limit=60)
