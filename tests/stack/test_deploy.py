"""The files for Kubernetes: what the API's schemas cannot say (bin/check-kubernetes has those)."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.container.serving import PORT
from stack.container.sizes import RESERVE, Sizes
from stack.data.urls import ROOT

FOLDER = ROOT / "stack" / "deploy" / "kubernetes"
BASE, WITH_DATABASE = FOLDER / "base", FOLDER / "with-database"
NAMESPACE = "commonpool"
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

Object = dict[str, Any]


def objects_of(folder: Path) -> list[Object]:
    return [
        one
        for file in sorted(folder.glob("*.yaml"))
        if file.name != "kustomization.yaml"
        for one in yaml.safe_load_all(file.read_text())
    ]


def settings_of(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


OBJECTS = [*objects_of(BASE), *objects_of(WITH_DATABASE)]
SETTINGS = settings_of(BASE / "settings.env")
NGINX_SETTINGS = settings_of(BASE / "nginx.env")
EXAMPLE = settings_of(ROOT / ".env.example")
COMPOSE: Object = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
WORKLOAD_OBJECTS = [one for one in OBJECTS if one["kind"] in WORKLOADS]


def find(kind: str, name: str) -> Object:
    [found] = [one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def name_of(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def pod_of(workload: Object) -> Object:
    pod: Object = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: Object) -> Object:
    [container] = pod_of(workload)["containers"]
    return dict(container)


def labels_of(workload: Object) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selected_by(labels: dict[str, str]) -> list[Object]:
    return [one for one in WORKLOAD_OBJECTS if labels.items() <= labels_of(one).items()]


def ports_of(workload: Object) -> dict[str, int]:
    ports = container_of(workload).get("ports", [])
    return {port["name"]: port["containerPort"] for port in ports}


def seconds_before_the_signal(workload: Object) -> int:
    command = container_of(workload)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    return int(command[1])


def compose_seconds(service: str) -> int:
    return int(COMPOSE["services"][service]["stop_grace_period"].removesuffix("s"))


def uwsgi_setting(name: str) -> int:
    [value] = re.findall(rf"^{name} = (\d+)$", (ROOT / "uwsgi.ini").read_text(), re.MULTILINE)
    return int(value)


def compose_default(value: object) -> str:
    """What docker-compose.yml makes of a value where nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def megabytes(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]+)", size).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "Mi": 1, "M": 1, "g": 1024, "Gi": 1024}[unit]


@pytest.fixture
def sizes(tmp_path: Path) -> Sizes:
    password = tmp_path / "password"
    password.write_text("of-this-test")
    here = {"DATABASE_PASSWORD_FILE": str(password), "STACK_SERVICE": ""}
    return Sizes.from_mapping(SETTINGS | here)


# -------------------------------------------------------------------------------------------------
# What names what


def referred_selectors() -> Iterator[tuple[str, dict[str, str]]]:
    for one in OBJECTS:
        match one["kind"], one.get("spec", {}):
            case "Service", spec:
                yield name_of(one), spec["selector"]
            case "PodDisruptionBudget", spec:
                yield name_of(one), spec["selector"]["matchLabels"]
            case "NetworkPolicy", spec:
                rules = [*spec.get("ingress", []), *spec.get("egress", [])]
                peers = [
                    peer for rule in rules for way in ("from", "to") for peer in rule.get(way, [])
                ]
                for selector in [spec["podSelector"], *(p.get("podSelector") for p in peers)]:
                    if selector:
                        yield name_of(one), selector["matchLabels"]


@pytest.mark.parametrize(("who", "labels"), list(referred_selectors()))
def test_a_selector_finds_pods(who: str, labels: dict[str, str]) -> None:
    assert selected_by(labels), f"{who} selects {labels}, which no pod has"


@pytest.mark.parametrize("workload", WORKLOAD_OBJECTS, ids=name_of)
def test_a_workload_selects_its_own_pods_and_no_others(workload: Object) -> None:
    if workload["kind"] != "Job":  # which has a selector made for it
        assert selected_by(workload["spec"]["selector"]["matchLabels"]) == [workload]
    for spread in pod_of(workload).get("topologySpreadConstraints", []):
        assert selected_by(spread["labelSelector"]["matchLabels"]) == [workload]


def test_only_the_application_and_the_loader_reach_the_database() -> None:
    clients = find("NetworkPolicy", "database-clients")["spec"]["podSelector"]["matchLabels"]
    assert sorted(map(name_of, selected_by(clients))) == ["Deployment/app", "Job/load"]
    [rule] = find("NetworkPolicy", "db")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": clients}}]


def test_only_nginx_reaches_the_application() -> None:
    [rule] = find("NetworkPolicy", "app")["spec"]["ingress"]
    [peer] = rule["from"]
    found = selected_by(peer["podSelector"]["matchLabels"])
    assert list(map(name_of, found)) == ["Deployment/nginx"]


def test_what_no_policy_allows_is_refused() -> None:
    assert find("NetworkPolicy", "nobody")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_the_autoscaler_and_the_stateful_set_name_what_is_there() -> None:
    target = find("HorizontalPodAutoscaler", "app")["spec"]["scaleTargetRef"]
    scaled = find(target["kind"], target["name"])
    assert target["apiVersion"] == scaled["apiVersion"]
    assert "replicas" not in scaled["spec"]  # apply would set back what the autoscaler decided
    assert find("Service", find("StatefulSet", "db")["spec"]["serviceName"])


@pytest.mark.parametrize("folder", [BASE, WITH_DATABASE], ids=lambda folder: folder.name)
def test_a_kustomization_lists_every_file(folder: Path) -> None:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    generated = [
        file for one in kustomization.get("configMapGenerator", []) for file in one["envs"]
    ]
    listed = [*kustomization["resources"], *generated]
    there = {file.name for file in folder.iterdir()} - {"kustomization.yaml"}
    assert set(listed) - {"../base"} == there
    assert (
        kustomization["namespace"] == NAMESPACE == find("Namespace", NAMESPACE)["metadata"]["name"]
    )


def test_config_maps_are_those_that_are_generated() -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    generated = {one["name"] for one in kustomization["configMapGenerator"]}
    used = {
        source["configMapRef"]["name"]
        for workload in WORKLOAD_OBJECTS
        for source in container_of(workload).get("envFrom", [])
    }
    assert used == generated


def test_images_have_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    tags = {image["name"]: image["newTag"] for image in kustomization["images"]}
    assert tags == dict.fromkeys(("commonpool-app", "commonpool-nginx"), project["version"])
    images = {container_of(one)["image"] for one in WORKLOAD_OBJECTS}
    assert images == {*tags, COMPOSE["services"]["db"]["image"]}


# -------------------------------------------------------------------------------------------------
# Ports


def test_ports_are_those_of_the_programs() -> None:
    assert ports_of(find("Deployment", "app")) == {"uwsgi": PORT}
    serve = (ROOT / "nginx" / "container" / "serve").read_text()
    assert f"APP_PORT=${{APP_PORT:-{PORT}}}" in serve
    [listen] = re.findall(r" LISTEN=\$\{LISTEN:-(\d+)\}", serve)
    assert ports_of(find("Deployment", "nginx")) == {"http": int(listen)}


@pytest.mark.parametrize(
    "service", [one for one in OBJECTS if one["kind"] == "Service"], ids=name_of
)
def test_a_service_leads_to_a_port_of_its_pods(service: Object) -> None:
    [workload] = selected_by(service["spec"]["selector"])
    for port in service["spec"]["ports"]:
        # The same number: a headless service does not translate.
        assert ports_of(workload)[port["targetPort"]] == port["port"]


def test_policies_name_the_ports_of_the_pods() -> None:
    for policy in (one for one in OBJECTS if one["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            numbers = {port["port"] for port in rule["ports"]}
            for workload in selected_by(policy["spec"]["podSelector"]["matchLabels"]):
                assert numbers == set(ports_of(workload).values()), name_of(policy)
    [to_app] = find("NetworkPolicy", "nginx")["spec"]["egress"]
    assert [port["port"] for port in to_app["ports"]] == [PORT]
    [to_database] = find("NetworkPolicy", "database-clients")["spec"]["egress"]
    [port] = to_database["ports"]
    assert port["port"] == ports_of(find("StatefulSet", "db"))["mysql"]


@pytest.mark.parametrize("workload", WORKLOAD_OBJECTS, ids=name_of)
def test_probes_ask_for_what_is_there(workload: Object) -> None:
    container = container_of(workload)
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        if "httpGet" in probe:
            assert probe["httpGet"]["port"] in ports_of(workload)
            assert (ROOT / "stack/app" / probe["httpGet"]["path"].lstrip("/")).is_file()
    commands = [container.get("command", [])]
    commands += [
        container[kind]["exec"]["command"]
        for kind in container
        if "Probe" in kind and "exec" in container[kind]
    ]
    for command in commands:
        if command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(command[2]), command
    if name_of(workload) == "Deployment/app":
        assert container["readinessProbe"]["exec"]["command"] == [
            *COMPOSE["services"]["app"]["healthcheck"]["test"][1:],
            "--started",
        ]
    if name_of(workload) == "Job/load":
        assert container["command"] == COMPOSE["services"]["load"]["command"]


def test_nginx_looks_for_the_headless_service_by_its_whole_name() -> None:
    host = NGINX_SETTINGS["APP_HOST"].split(".")
    assert host[1:] == [NAMESPACE, "svc", "cluster", "local"]
    assert host[0] == SETTINGS["STACK_SERVICE"]
    assert find("Service", host[0])["spec"]["clusterIP"] == "None"


# -------------------------------------------------------------------------------------------------
# Settings


def test_the_applications_settings_are_those_of_compose() -> None:
    expected = {
        # Where Compose hands on nothing, the example may say what that means.
        name: compose_default(value) or EXAMPLE.get(name, "")
        for name, value in COMPOSE["x-application"]["environment"].items()
    }
    differs = {"STACK_REPLICAS": str(find("HorizontalPodAutoscaler", "app")["spec"]["maxReplicas"])}
    assert expected | differs == SETTINGS


def test_nginxs_settings_are_those_of_compose() -> None:
    expected = {
        name: compose_default(value)
        for name, value in COMPOSE["services"]["nginx"]["environment"].items()
    }
    differs = {name: NGINX_SETTINGS[name] for name in ("APP_HOST", "MOST_REQUESTS")}
    assert expected | differs == NGINX_SETTINGS


def test_settings_that_the_example_has_too_are_equal() -> None:
    differ = {
        name
        for name, value in {**SETTINGS, **NGINX_SETTINGS}.items()
        if name in EXAMPLE and EXAMPLE[name] != value
    }
    assert differ == {"STACK_REPLICAS", "MOST_REQUESTS"}


def test_the_application_takes_the_settings(sizes: Sizes) -> None:
    assert str(sizes) == (
        "3 replicas x 2 processes x (24 + 8 + 1) connections = 198; "
        "8 request threads and 24 workers in each process"
    )


@pytest.mark.parametrize(
    ("kind", "name", "prefix"),
    [("Deployment", "app", "APP"), ("Deployment", "nginx", "NGINX"), ("StatefulSet", "db", "DB")],
)
def test_limits_are_those_of_the_example(kind: str, name: str, prefix: str) -> None:
    limits = container_of(find(kind, name))["resources"]["limits"]
    assert limits["cpu"] == EXAMPLE[f"{prefix}_CPUS"]
    assert megabytes(limits["memory"]) == megabytes(EXAMPLE[f"{prefix}_MEMORY"])


# -------------------------------------------------------------------------------------------------
# Sums


def test_what_the_autoscaler_may_start_fits_into_the_database(sizes: Sizes) -> None:
    scaler = find("HorizontalPodAutoscaler", "app")["spec"]
    assert sizes.replicas == scaler["maxReplicas"]
    [most] = [
        int(argument.removeprefix("--max-connections="))
        for argument in container_of(find("StatefulSet", "db"))["args"]
        if argument.startswith("--max-connections=")
    ]
    # In a rollout as many come as go, and those that are ending still have theirs.
    wanted = 2 * sizes.connections + RESERVE
    assert wanted <= most
    assert f"= {wanted} <= max_connections" in (BASE / "app.yaml").read_text()


def test_nginx_lets_in_what_the_fewest_replicas_have_room_for() -> None:
    serve = (ROOT / "nginx" / "container" / "serve").read_text()
    [each] = map(int, re.findall(r"^requests_of_a_replica=(\d+)$", serve, re.MULTILINE))
    replicas = find("Deployment", "nginx")["spec"]["replicas"]
    fewest = find("HorizontalPodAutoscaler", "app")["spec"]["minReplicas"]
    assert replicas * int(NGINX_SETTINGS["MOST_REQUESTS"]) <= fewest * each


def test_the_application_has_time_to_answer_and_to_drain() -> None:
    app = find("Deployment", "app")
    grace, pause = pod_of(app)["terminationGracePeriodSeconds"], seconds_before_the_signal(app)
    drain = int(SETTINGS["COMMONPOOL_DRAIN_TIMEOUT"])
    assert grace > pause + uwsgi_setting("harakiri") + drain + 1
    assert grace == compose_seconds("app") + pause


def test_nginx_has_time_to_answer() -> None:
    nginx = find("Deployment", "nginx")
    grace, pause = pod_of(nginx)["terminationGracePeriodSeconds"], seconds_before_the_signal(nginx)
    assert grace == compose_seconds("nginx") + pause


def test_the_database_has_time_to_write() -> None:
    assert pod_of(find("StatefulSet", "db"))["terminationGracePeriodSeconds"] == compose_seconds(
        "db"
    )


def test_harakiri_comes_before_the_liveness_probe() -> None:
    probe = container_of(find("Deployment", "app"))["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * uwsgi_setting("harakiri")


def test_a_new_pod_is_there_before_an_old_one_goes() -> None:
    for name in ("app", "nginx"):
        strategy = find("Deployment", name)["spec"]["strategy"]
        assert strategy == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


# -------------------------------------------------------------------------------------------------
# Rights and secrets


@pytest.mark.parametrize("workload", WORKLOAD_OBJECTS, ids=name_of)
def test_a_pod_has_no_more_rights_than_it_needs(workload: Object) -> None:
    pod, container = pod_of(workload), container_of(workload)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("kind", "name", "dockerfile"),
    [
        ("Deployment", "app", "stack/Dockerfile"),
        ("Job", "load", "stack/Dockerfile"),
        ("Deployment", "nginx", "nginx/Dockerfile"),
    ],
)
def test_a_pod_runs_as_the_user_of_its_image(kind: str, name: str, dockerfile: str) -> None:
    [(user, group)] = re.findall(
        r"^USER (\d+):(\d+)$", (ROOT / dockerfile).read_text(), re.MULTILINE
    )
    context = pod_of(find(kind, name))["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))


@pytest.mark.parametrize("workload", WORKLOAD_OBJECTS, ids=name_of)
def test_what_is_written_is_a_volume(workload: Object) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
    claims = workload["spec"].get("volumeClaimTemplates", [])
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(workload)["volumeMounts"]}
    assert mounts.keys() == volumes.keys() | {claim["metadata"]["name"] for claim in claims}
    written = {mounts[name] for name, volume in volumes.items() if "emptyDir" in volume}
    if workload["metadata"]["name"] in {"app", "nginx"}:
        service = COMPOSE["services"][workload["metadata"]["name"]]
        assert written == set(service["tmpfs"])
    for name, volume in volumes.items():
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o440, name
            assert "fsGroup" in pod_of(workload)["securityContext"]


def test_password_files_are_mounted_where_they_are_looked_for() -> None:
    def files(workload: Object) -> set[str]:
        return {
            f"{mount['mountPath']}/password"
            for mount in container_of(workload)["volumeMounts"]
            if mount["mountPath"].startswith("/run/secrets/")
        }

    for kind, name in (("Deployment", "app"), ("Job", "load")):
        assert files(find(kind, name)) == {SETTINGS["DATABASE_PASSWORD_FILE"]}
    database = find("StatefulSet", "db")
    named = {one["value"] for one in container_of(database)["env"] if one["name"].endswith("_FILE")}
    assert files(database) == named


def test_no_secret_is_in_the_files() -> None:
    assert not [name_of(one) for one in OBJECTS if one["kind"] == "Secret"]
    for folder in (BASE, WITH_DATABASE):
        assert "secretGenerator" not in yaml.safe_load((folder / "kustomization.yaml").read_text())
    variables = [*SETTINGS.items(), *NGINX_SETTINGS.items()]
    for workload in WORKLOAD_OBJECTS:
        variables += [(one["name"], one["value"]) for one in container_of(workload).get("env", [])]
    for name, value in variables:
        if re.search("PASSWORD|SECRET|TOKEN|KEY", name):
            assert name.endswith("_FILE"), name
            assert value.startswith("/run/secrets/"), name
        assert not re.search(r"://[^/@]*:[^/@]*@", value), name


# -------------------------------------------------------------------------------------------------
# What kustomize makes of it


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("folder", [BASE, WITH_DATABASE], ids=lambda folder: folder.name)
def test_kustomize_builds_it(folder: Path) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    objects = list(yaml.safe_load_all(built.stdout))
    assert {one["metadata"].get("namespace", NAMESPACE) for one in objects} == {NAMESPACE}
    maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    for workload in (one for one in objects if one["kind"] in WORKLOADS):
        for source in container_of(workload).get("envFrom", []):
            held = maps[source["configMapRef"]["name"]]
            assert held in (SETTINGS, NGINX_SETTINGS)
    [policy] = [one for one in objects if one["metadata"]["name"] == "database-clients"]
    [rule] = policy["spec"]["egress"]
    assert ("to" in rule) == (folder == WITH_DATABASE)
