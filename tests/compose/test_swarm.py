"""stack/deploy/swarm.yml on a swarm of one node, by the commands of docs/operations.md."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from stack.native.ports import free_port
from stack.native.waiting import wait_until
from tests.compose.engine import APPLICATION as APP_IMAGE
from tests.compose.engine import MINUTES, ROOT, SETTINGS, docker, run
from tests.compose.engine import NGINX as NGINX_IMAGE
from tests.integration.load import Load

DASHBOARD = "/api/dashboard?mode=parallel"
LIGHT = "/sleep/sql?queries=3&seconds=0.1&mode=parallel"
"""Through all of the stack, with next to no work for a processor: speed is not the point here."""
RUNNING = ("nginx", "app", "db")


class Swarm:
    """The stack, under a name of its own, in a swarm that is this engine alone.

    Args:
        name: of the stack: that of docker-compose.yml on this engine has volumes, too.
        port: for nginx.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        text = (ROOT / "docs" / "operations.md").read_text()
        section = text.partition("\n## Docker Swarm\n")[2].partition("\n## ")[0]
        self._documented = re.findall(r"^\$ (.*)$", section, re.MULTILINE)
        kept = {n: v for n, v in os.environ.items() if not n.startswith(SETTINGS)}
        images = {"APP_IMAGE": APP_IMAGE, "NGINX_IMAGE": NGINX_IMAGE}
        self._environ = kept | images | {"HTTP_PORT": str(port)}

    def do(self, words: str, *, check: bool = True, **settings: str) -> str:
        """Run the one command of the documentation that has these words; return what it prints."""
        (command,) = [line for line in self._documented if words in line]
        command = re.sub(r"(?<=[ =])commonpool(?=[ _]|$)", self.name, command)
        command = command.replace("192.0.2.1", "127.0.0.1")
        return run(["bash", "-c", command], check=check, environ=self._environ | settings).stdout

    def start(self) -> None:
        """From an engine without a swarm to a dashboard that answers."""
        for words in (
            "swarm init", "node update", "secret create db_password",
            "secret create db_root_password", "stack deploy",
        ):  # fmt: skip
            self.do(words)
        try:
            wait_until(self.answers, limit=3 * MINUTES, what="the dashboard")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.state()}") from None

    def end(self) -> None:
        """Remove all of it, whatever there is of it."""
        self.do("stack rm", check=False)
        wait_until(lambda: not self._ids("--all"), limit=2 * MINUTES, what="containers to end")
        self.do("volume rm")
        self.do("secret rm")

    def leave(self) -> None:
        """End the swarm, and what might be left of the stack on this engine."""
        docker("swarm", "leave", "--force", check=False)
        for container in self._ids("--all"):
            docker("rm", "--force", "--volumes", container, check=False)
        for volume in docker("volume", "ls", "--quiet", *self._ours()).split():
            docker("volume", "rm", volume)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What `docker inspect` shows of those of a service that run."""
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        ids = docker("ps", "--quiet", "--filter", label).split()
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def update(self, service: str) -> Mapping[str, str]:
        """What has become of the last update of a service; empty before the first one."""
        (about,) = json.loads(docker("service", "inspect", f"{self.name}_{service}"))
        return dict(about.get("UpdateStatus") or {})

    def states(self, service: str) -> list[str]:
        """Of the tasks of a service, the latest first, such as ``Running 5 seconds ago``."""
        shown = docker(
            "service", "ps", "--no-trunc", "--format", "{{.CurrentState}}", f"{self.name}_{service}"
        )
        return shown.splitlines()

    def state(self) -> str:
        """For the message of a test that fails."""
        return docker("stack", "ps", "--no-trunc", self.name, check=False) + self.logs()

    def logs(self, *services: str) -> str:
        """What the containers of these services or of all have printed, with those that ended.

        Not by `docker service logs`, which may wait for tasks that have no log yet without limit.
        """
        labels = [f"label=com.docker.swarm.service.name={self.name}_{name}" for name in services]
        said = []
        for label in labels or [f"label=com.docker.stack.namespace={self.name}"]:
            for container in docker("ps", "--all", "--quiet", "--filter", label).split():
                done = run(["docker", "logs", container], check=False)
                said.append(done.stdout + done.stderr)
        return "\n".join(said)

    def answers(self) -> bool:
        """Whether the dashboard does."""
        try:
            return httpx.get(self.url + DASHBOARD, trust_env=False, timeout=60).status_code == 200
        except httpx.HTTPError:
            return False

    def _ids(self, *options: str) -> list[str]:
        return docker("ps", "--quiet", *options, *self._ours()).split()

    def _ours(self) -> tuple[str, str]:
        return "--filter", f"label=com.docker.stack.namespace={self.name}"


@pytest.fixture(scope="module")
def swarm(images: None) -> Iterator[Swarm]:  # noqa: ARG001 (what it is made of)
    """One for all tests here, which leave it with all replicas well."""
    state = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip()
    if state != "inactive":
        pytest.skip(
            f"this engine's place in a swarm is {state!r}: it would have to leave, for a new one"
        )
    port = free_port()
    made = Swarm(f"commonpool-test-{os.getpid()}-{port}", port)
    try:
        made.start()
        yield made
        made.end()
    finally:
        made.leave()


def test_the_dashboard_answers_the_same_in_both_modes(swarm: Swarm) -> None:
    with httpx.Client(base_url=swarm.url, trust_env=False, timeout=60) as client:
        answers = {
            mode: client.get("/api/dashboard", params={"mode": mode}).raise_for_status().json()
            for mode in ("sequential", "parallel")
        }

    assert answers["parallel"]["results"]
    assert answers["parallel"]["results"] == answers["sequential"]["results"]
    assert len({task["thread"] for task in answers["parallel"]["tasks"]}) > 1


def test_the_flights_are_loaded_by_a_task_that_ends(swarm: Swarm) -> None:
    wait_until(lambda: swarm.states("load")[0].startswith("Complete"), limit=MINUTES)

    assert not swarm.containers("load")
    assert swarm.states("load")[0].startswith("Complete")


def test_no_request_is_lost_while_replicas_are_added_and_replaced(swarm: Swarm) -> None:
    with Load(swarm.url, LIGHT, rate=5) as load:
        swarm.do("service scale")
        before = {container["Id"] for container in swarm.containers("app")}
        wait_until(lambda: len(_addresses(swarm)) == 3, what="three addresses for nginx")

        swarm.do("stack deploy", STACK_REPLICAS="3", COMMONPOOL_DRAIN_TIMEOUT="9")
        wait_until(
            # none at first, when the one before is forgotten
            lambda: swarm.update("app").get("State", "updating") != "updating",
            limit=3 * MINUTES,
            what="the update",
        )

    assert len(before) == 3
    assert swarm.update("app")["State"] == "completed", swarm.state()
    after = swarm.containers("app")
    assert len(after) == 3
    assert not before & {container["Id"] for container in after}
    assert all("COMMONPOOL_DRAIN_TIMEOUT=9" in container["Config"]["Env"] for container in after)
    assert len(load.answers) > 50
    assert set(load.statuses()) == {200}, _failures(load) + swarm.logs("nginx", "app")


def test_an_update_that_cannot_start_is_taken_back_and_no_request_is_lost(swarm: Swarm) -> None:
    service = f"{swarm.name}_app"
    before = {container["Id"] for container in swarm.containers("app")}

    with Load(swarm.url, LIGHT, rate=5) as load:
        docker("service", "update", "--detach", "--env-add", "STACK_THREADS=eight", service)
        wait_until(
            lambda: swarm.update("app").get("State") == "rollback_completed", limit=2 * MINUTES
        )

    assert "STACK_THREADS is 'eight'" in swarm.logs("app")
    assert {container["Id"] for container in swarm.containers("app")} == before
    assert len(load.answers) > 10
    assert set(load.statuses()) == {200}, _failures(load) + swarm.logs("nginx", "app")


def test_no_replica_is_replaced_when_the_database_is(swarm: Swarm) -> None:
    before = {container["Id"] for container in swarm.containers("app")}
    (database,) = swarm.containers("db")

    # Not by `docker service update --force`: the next `docker stack deploy` would replace it again.
    docker("kill", database["Id"])
    wait_until(lambda: swarm.containers("db"), limit=MINUTES, what="another database")
    wait_until(swarm.answers, limit=MINUTES, what="the dashboard")

    (other,) = swarm.containers("db")
    assert other["Id"] != database["Id"]
    assert {container["Id"] for container in swarm.containers("app")} == before


def test_no_password_is_in_what_docker_shows(swarm: Swarm) -> None:
    (database,) = swarm.containers("db")
    passwords = [
        docker("exec", database["Id"], "cat", f"/run/secrets/{name}/password").strip()
        for name in ("db", "db-root")
    ]
    services = [f"{swarm.name}_{service}" for service in (*RUNNING, "load")]
    shown = [
        json.dumps([swarm.containers(service) for service in RUNNING]),
        docker("service", "inspect", *services),
        docker("secret", "inspect", "db_password", "db_root_password"),
        docker("stack", "ps", "--no-trunc", swarm.name),
        swarm.logs(),
    ]

    for password in passwords:
        assert len(password) == 32
        assert not any(password in text for text in shown)
    assert "flights" in shown[-1]


def test_a_password_is_seen_only_where_it_is_needed(swarm: Swarm) -> None:
    seen = {
        service: docker(
            "exec",
            container["Id"],
            "sh",
            "-c",
            "find /run/secrets -type f 2>/dev/null",
            check=False,
        ).split()
        for service in RUNNING
        for container in swarm.containers(service)
    }

    assert {service: sorted(files) for service, files in seen.items()} == {
        "nginx": [],
        "app": ["/run/secrets/db/password"],
        "db": ["/run/secrets/db-root/password", "/run/secrets/db/password"],
    }


@pytest.mark.parametrize("service", RUNNING)
def test_nothing_runs_as_root_or_with_a_capability(swarm: Swarm, service: str) -> None:
    for container in swarm.containers(service):
        text = docker("exec", container["Id"], "sh", "-c", "cat /proc/[0-9]*/status", check=False)
        users = re.findall(r"^[UG]id:\s+(.*)$", text, re.MULTILINE)
        capabilities = re.findall(r"^Cap(?:Inh|Prm|Eff|Bnd):\s+(.*)$", text, re.MULTILINE)

        assert len(users) >= 2 * 2, "the init and what it runs"
        assert not any("0" in line.split() for line in users), text
        assert len(capabilities) == 2 * len(users)
        assert {int(given, 16) for given in capabilities} == {0}, text


@pytest.mark.parametrize("service", RUNNING)
def test_every_container_is_confined(swarm: Swarm, service: str) -> None:
    containers = swarm.containers(service)
    assert containers
    for container in containers:
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["Init"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}


def test_only_nginx_has_a_port_and_a_network_that_is_not_internal(swarm: Swarm) -> None:
    networks = {
        service: {
            name.removeprefix(f"{swarm.name}_")
            for container in swarm.containers(service)
            for name in container["NetworkSettings"]["Networks"]
        }
        for service in RUNNING
    }
    ports = {
        service: any(
            bound
            for container in swarm.containers(service)
            for bound in container["NetworkSettings"]["Ports"].values()
        )
        for service in RUNNING
    }

    assert networks == {"nginx": {"edge", "front"}, "app": {"front", "back"}, "db": {"back"}}
    assert ports == {"nginx": True, "app": False, "db": False}
    for name in ("front", "back"):
        (network,) = json.loads(docker("network", "inspect", f"{swarm.name}_{name}"))
        assert network["Internal"] is True
        assert "encrypted" in network["Options"]


def _addresses(swarm: Swarm) -> set[str]:
    """Those that nginx sends requests to."""
    (nginx,) = swarm.containers("nginx")
    servers = docker("exec", nginx["Id"], "cat", "/etc/nginx/conf.d/app_servers.inc")
    return set(re.findall(r"^server (\S+):8000 ", servers, re.MULTILINE))


def _failures(load: Load) -> str:
    """What was answered, or went wrong, other than well."""
    failed = [answer for answer in load.answers if answer.status != 200]
    bodies = {answer.error or f"{answer.status} {answer.body.decode()[:300]}" for answer in failed}
    return f"{load.statuses()}: {sorted(bodies)}"
