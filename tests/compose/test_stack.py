"""What `docker compose up` starts: it works, and it is as shut as it can be."""

from __future__ import annotations

import json
import uuid

import httpx
import pytest

from tests.compose.engine import APPLICATION, NGINX, Container, Stack, docker

RUNNING = ("nginx", "app", "db")


def test_the_dashboard_answers_the_same_in_both_modes(client: httpx.Client) -> None:
    answers = {
        mode: client.get("/api/dashboard", params={"mode": mode}).raise_for_status().json()
        for mode in ("sequential", "parallel")
    }

    assert answers["parallel"]["results"] == answers["sequential"]["results"]
    assert answers["parallel"]["results"]
    threads = {
        mode: {task["thread"] for task in answer["tasks"]} for mode, answer in answers.items()
    }
    assert len(threads["sequential"]) == 1
    assert len(threads["parallel"]) > 1


def test_the_page_and_its_files_are_served(client: httpx.Client) -> None:
    page = client.get("/")
    style = client.get("/static/style.css")

    assert page.status_code == style.status_code == 200
    assert "/static/style.css" in page.text
    assert style.headers["Content-Type"].startswith("text/css")


def test_health_is_asked_through_to_the_database(stack: Stack, client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "database": "answers"}
    for container in stack.containers(*RUNNING):
        assert container.about["State"]["Health"]["Status"] == "healthy", container.name


def test_one_id_is_in_the_logs_of_nginx_and_of_uwsgi_and_in_the_answer(
    stack: Stack, client: httpx.Client
) -> None:
    given = uuid.uuid4().hex

    answer = client.get("/api/dashboard", headers={"X-Request-ID": given})

    assert answer.headers["X-Request-ID"] == given
    assert f"id={given}" in stack.logs("app")
    (line,) = [line for line in stack.access_log() if line["id"] == given]
    assert line["status"] == 200
    assert line["upstream_status"] == [200]


def test_the_flights_were_loaded_once(stack: Stack) -> None:
    load = stack.container("load")

    assert load.about["State"]["ExitCode"] == 0
    assert "Loaded 336,776 flights" in stack.logs("load")


@pytest.mark.parametrize("service", RUNNING)
def test_nothing_runs_as_root_or_with_a_capability(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        states = _states_of_processes(container)
        assert len(states) >= 2, "the init and what it runs"
        for state in states:
            assert "0" not in state["Uid"].split(), f"{container.name}: {state}"
            assert "0" not in state["Gid"].split(), f"{container.name}: {state}"
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd"):
                assert int(state[capabilities], 16) == 0, f"{container.name}: {state}"
            assert state["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", [*RUNNING, "load", "passwords"])
def test_every_container_is_confined(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        host = container.about["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert not host["Privileged"]
        assert host["LogConfig"] == {
            "Type": "json-file",
            "Config": {"max-size": "10m", "max-file": "5"},
        }
        if service in RUNNING:
            assert host["Memory"] > 0
            assert host["NanoCpus"] > 0
            assert host["PidsLimit"] > 0
            assert host["RestartPolicy"]["Name"] == "unless-stopped"


@pytest.mark.parametrize("service", RUNNING)
def test_root_file_systems_cannot_be_written(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        for place in ("/", "/etc", "/usr", "/opt", "/app", "/srv/nginx"):
            done = container.execute(
                "sh", "-c", f"[ ! -d {place} ] || ! touch {place}/x 2>/dev/null", check=False
            )
            assert done == ""
            container.execute("sh", "-c", f"[ ! -e {place}/x ]")


def test_no_password_is_in_what_docker_shows(stack: Stack) -> None:
    passwords = [
        stack.container("db").execute("cat", f"/run/secrets/{name}/password")
        for name in ("db", "db-root")
    ]
    shown = [
        json.dumps([container.about for container in stack.containers()]),
        docker("image", "inspect", APPLICATION, NGINX),
        docker("history", "--no-trunc", APPLICATION),
        docker("history", "--no-trunc", NGINX),
        stack.compose("config").stdout,
        stack.logs(),
    ]

    for password in passwords:
        assert len(password) >= 32
        for text in shown:
            assert password not in text
    # nor in the environment of a process, which others on the host may read
    for container in stack.containers(*RUNNING):
        variables = container.execute(
            "sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'", check=False
        )
        assert "PATH=" in variables
        for password in passwords:
            assert password not in variables


def test_a_password_is_seen_only_where_it_is_needed(stack: Stack) -> None:
    places = {
        container.service: {mount["Destination"] for mount in container.about["Mounts"]}
        for container in stack.containers()
    }

    has = {service for service, seen in places.items() if "/run/secrets/db" in seen}
    has_root = {service for service, seen in places.items() if "/run/secrets/db-root" in seen}
    assert has == {"app", "load", "db", "passwords"}
    assert has_root == {"db", "passwords"}
    for container in stack.containers("app", "load", "db"):
        assert not any(
            mount["RW"]
            for mount in container.about["Mounts"]
            if mount["Destination"].startswith("/run/secrets")
        )


def test_only_nginx_has_a_port_and_only_for_this_machine(stack: Stack) -> None:
    ports = {
        container.service: [
            (bound["HostIp"], int(bound["HostPort"]))
            for bindings in container.about["NetworkSettings"]["Ports"].values()
            for bound in bindings or []
        ]
        for container in stack.containers(*RUNNING)
    }

    assert ports == {"nginx": [("127.0.0.1", stack.port)], "app": [], "db": []}


def test_only_the_application_reaches_the_database_on_networks_that_are_internal(
    stack: Stack,
) -> None:
    networks = {
        container.service: {
            name.removeprefix(f"{stack.name}_")
            for name in container.about["NetworkSettings"]["Networks"]
        }
        for container in stack.containers()
    }
    assert networks == {
        "nginx": {"edge", "front"},
        "app": {"front", "back"},
        "db": {"back"},
        "load": {"back"},
        "passwords": {"none"},
    }
    for name in ("front", "back"):
        (network,) = json.loads(docker("network", "inspect", f"{stack.name}_{name}"))
        assert network["Internal"] is True

    database = stack.container("db")
    (address,) = (
        network["IPAddress"] for network in database.about["NetworkSettings"]["Networks"].values()
    )
    reach = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/3306' 2>/dev/null && echo reached"
    assert stack.container("app").execute("sh", "-c", reach, check=False) == "reached\n"
    assert stack.container("nginx").execute("sh", "-c", reach, check=False) == ""


@pytest.mark.usefixtures("images")
def test_the_final_image_has_no_compiler_and_no_pip_of_its_own() -> None:
    looked = docker(
        "run", "--rm", APPLICATION, "sh", "-c",
        "for name in gcc cc make pkg-config; do command -v $name; done; ls /opt/venv/bin",
    )  # fmt: skip

    assert "uwsgi" in looked.split()
    assert not {"gcc", "cc", "make", "pkg-config", "pip"} & {
        path.rpartition("/")[2] for path in looked.split()
    }


@pytest.mark.usefixtures("images")
def test_what_is_installed_is_what_was_locked() -> None:
    listed = docker(
        "run", "--rm", APPLICATION, "python", "-c",
        "import importlib.metadata as m\n"
        "for d in m.distributions(): print(d.name.lower().replace('_', '-'), d.version)",
    )  # fmt: skip
    installed = dict(line.split() for line in listed.splitlines())
    lock = (Stack("", 0).folder / "stack" / "container" / "requirements.lock").read_text()
    locked = dict(line.partition(" ")[0].split("==") for line in lock.splitlines() if "==" in line)

    commonpool = installed.pop("commonpool")
    assert commonpool
    assert installed == {name: version for name, version in locked.items() if name in installed}
    assert {"uwsgi", "flask", "sqlalchemy", "mysqlclient"} <= set(installed)
    assert set(locked) - set(installed) <= {"colorama"}, "of other systems alone"


def test_forwarded_headers_of_a_client_are_not_believed(stack: Stack, client: httpx.Client) -> None:
    given = uuid.uuid4().hex

    client.get(
        "/api/dashboard",
        headers={
            "X-Request-ID": given,
            "X-Forwarded-For": "203.0.113.9",
            "X-Real-IP": "203.0.113.9",
        },
    ).raise_for_status()

    (line,) = [line for line in stack.logs("app").splitlines() if f"id={given}" in line]
    assert "203.0.113.9" not in line


def _states_of_processes(container: Container) -> list[dict[str, str]]:
    """What /proc says of every process of a container, but for the one that looks."""
    text = container.execute(
        "sh", "-c", "for f in /proc/[0-9]*/status; do cat $f 2>/dev/null && echo --; done",
        check=False,
    )  # fmt: skip
    states = [
        dict(line.split(":", 1) for line in block.splitlines() if ":" in line)
        for block in text.split("--\n")
        if block.strip()
    ]
    return [
        {name: value.strip() for name, value in state.items()}
        for state in states
        if state["Name"].strip() not in {"sh", "cat", "bash"} or state["Pid"].strip() == "1"
    ]
