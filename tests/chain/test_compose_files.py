"""Compose files: which service is which, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from commonpool.chain.compose_files import Services, read_compose
from commonpool.chain.interpolation import RequiredError, interpolate, variables_in
from commonpool.chain.model import Setting

ROOT = Path(__file__).resolve().parents[2]
LayOut = Callable[[Mapping[str, str]], Path]


def read(file: str, environ: Mapping[str, str] | None = None) -> Services:
    services, problems = read_compose(file, environ or {})
    assert problems == []
    assert services is not None
    return services


def only(lay_out: LayOut, text: str, **environ: str) -> Services:
    lay_out({"compose.yml": text})
    return read("compose.yml", environ)


# The stack's own


@pytest.mark.parametrize(
    ("file", "replicas"), [("docker-compose.yml", 1), ("stack/deploy/swarm.yml", 2)]
)
def test_the_stacks_own_files_are_read(
    file: str, replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    services = read(file)
    compose = services.compose

    assert compose.services == {"application": "app", "database": "db", "nginx": "nginx"}
    assert compose.replicas.value == replicas
    assert compose.memory is not None
    assert compose.memory.value == 2304 * 1024**2
    assert compose.stop_grace_period.value == 60
    assert compose.limits["pids"].value == 512
    assert compose.environ["COMMONPOOL_MAX_WORKERS"].value == "24"
    assert compose.environ["COMMONPOOL_MAX_WORKERS"].written == "${COMMONPOOL_MAX_WORKERS:-24}"
    assert services.database["max_connections"].value == 300
    assert services.database["dialect"].value == "mariadb"
    assert services.nginx["CLIENT_RATE"].value == "50r/s"


def test_lines_are_those_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    services = read("docker-compose.yml", {"STACK_REPLICAS": "3"})
    lines = Path("docker-compose.yml").read_text().splitlines()
    merged = services.compose.environ["COMMONPOOL_DRAIN_TIMEOUT"]

    replicas = services.compose.replicas
    assert replicas.value == 3
    assert lines[replicas.line - 1].strip() == f"replicas: {replicas.written}"
    assert "max-connections" in lines[services.database["max_connections"].line - 1]
    # Merged from an anchor, it stands where the anchor has it.
    assert "COMMONPOOL_DRAIN" in lines[merged.line - 1]
    # What the image sets stands in its Dockerfile.
    assert services.compose.environ["STACK_RUN_DIR"].file == "stack/Dockerfile"


# Which is which


@pytest.mark.parametrize(
    ("services", "name"),
    [
        ("x: {image: a, command: uwsgi --ini u.ini}\n  web: {image: b}", "x"),
        ("x: {image: my-uwsgi}\n  y: {image: b}", "x"),
        ("x: {image: a, environment: {COMMONPOOL_MAX_WORKERS: 3}}\n  y: {image: b}", "x"),
        ("x: {image: a, environment: [COMMONPOOL_MAX_WORKERS=3]}\n  y: {image: b}", "x"),
        ("web: {image: a}\n  y: {image: b}", "web"),
        ("app: {image: a}\n  worker: {image: a, command: celery -A x worker}", "app"),
        ("nginx: {image: nginx}\n  web: {image: a}", "web"),
        ("y: {image: b}\n  x: {image: a, entrypoint: [uwsgi, --ini, u.ini]}", "x"),
        ("web: {image: a, profiles: [dev], command: flask run}\n  app: {image: a}", "app"),
    ],
)
def test_the_applications_service_is_found(lay_out: LayOut, services: str, name: str) -> None:
    assert only(lay_out, f"services:\n  {services}\n").compose.services["application"] == name


def test_it_is_found_by_what_its_dockerfile_runs(lay_out: LayOut) -> None:
    lay_out(
        {
            "compose.yml": "services:\n  y: {image: b}\n  z: {build: other}\n"
            "  x: {build: {context: src, dockerfile: D}}\n",
            "src/D": 'FROM python\nENV A=1 B="2 3" \\\n  C=4\nENV D 5\nCMD ["uwsgi", "u.ini"]\n',
            "other/Dockerfile": "FROM python\n",
        }
    )
    compose = read("compose.yml").compose

    assert compose.services["application"] == "x"
    assert compose.environ == {
        "A": Setting("1", "src/D", 2),
        "B": Setting("2 3", "src/D", 2),
        "C": Setting("4", "src/D", 2),
        "D": Setting("5", "src/D", 4),
    }


def test_where_there_is_none_one_line_says_so(lay_out: LayOut) -> None:
    lay_out({"compose.yml": "services: {a: {image: x}, db: {image: mariadb}}\n"})
    services, problems = read_compose("compose.yml", {})

    assert services is None
    assert ["no service that runs uWSGI" in one.message for one in problems] == [True]


# What it is given


def test_what_the_environment_files_say_comes_before_the_image_and_after_the_rest(
    lay_out: LayOut,
) -> None:
    lay_out(
        {
            "compose.yml": "services:\n  app:\n    image: a\n    env_file: [one.env, two.env]\n"
            "    environment:\n      A: here\n      GIVEN:\n      GONE:\n",
            "one.env": "A=1\nB=1\nexport C='$X'\n",
            "two.env": '# two\nB="2 $X" # comment\nD=3 # comment\nE=a#b\n',
        }
    )
    environ = read("compose.yml", {"GIVEN": "yes", "X": "x"}).compose.environ

    assert environ == {
        "A": Setting("here", "compose.yml", 6),
        "B": Setting("2 x", "two.env", 2),
        "C": Setting("$X", "one.env", 3),
        "D": Setting("3", "two.env", 3),
        "E": Setting("a#b", "two.env", 4),
        "GIVEN": Setting("yes", "environment"),
    }


def test_the_file_beside_it_counts_and_the_environment_before_it(lay_out: LayOut) -> None:
    lay_out(
        {
            "a/compose.yml": "services:\n  app:\n    image: a\n    mem_limit: ${MEM}\n"
            "    scale: ${SCALE}\n    stop_grace_period: ${GRACE:-1m30s}\n",
            "a/.env": "MEM=512m\nSCALE=2\n",
        }
    )
    compose = read("a/compose.yml", {"SCALE": "4"}).compose

    assert compose.memory == Setting(512 * 1024**2, "a/compose.yml", 4, "${MEM}")
    assert compose.replicas == Setting(4, "a/compose.yml", 5, "${SCALE}")
    assert compose.stop_grace_period.value == 90


def test_what_is_not_said_has_dockers_defaults(lay_out: LayOut) -> None:
    compose = only(lay_out, "services: {app: {image: a}}\n").compose

    assert compose.replicas == Setting(1, "default")
    assert compose.stop_grace_period == Setting(10.0, "default")
    assert compose.memory is None
    assert compose.limits == {}


def test_a_service_may_extend_another(lay_out: LayOut) -> None:
    lay_out(
        {
            "compose.yml": "services:\n  base: {image: x, profiles: [no], mem_limit: 1g}\n"
            "  app: {extends: {service: web, file: other.yml}, environment: {A: 2}}\n",
            "other.yml": "services:\n  web: {mem_limit: 2g, environment: {A: 1, B: 1}}\n",
        }
    )
    compose = read("compose.yml").compose

    assert compose.memory is not None
    assert compose.memory.value == 2 * 1024**3
    assert {name: one.value for name, one in compose.environ.items()} == {"A": "2", "B": "1"}


@pytest.mark.parametrize(
    ("service", "variables"),
    [
        (
            "{image: 'mysql:8.4', command: --max-connections=200 --wait_timeout 60}",
            {"dialect": "mysql", "version": "8.4", "max_connections": 200, "wait_timeout": 60},
        ),
        (
            "{image: 'postgres:17', command: -c max_connections=50 -cstatement_timeout=5s}",
            {
                "dialect": "postgresql",
                "version": "17",
                "max_connections": 50,
                "statement_timeout": "5s",
            },
        ),
        ("{image: 'ghcr.io/me/mariadb'}", {"dialect": "mariadb"}),
    ],
)
def test_the_databases_command_tells_its_variables(
    lay_out: LayOut, service: str, variables: dict[str, object]
) -> None:
    services = only(lay_out, f"services:\n  app: {{image: a}}\n  db: {service}\n")

    assert {name: one.value for name, one in services.database.items()} == variables


# Variables


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$A ${A} $$A $", "1 1 $A $"),
        ("${B}|${B-x}|${B:-x}|${NONE-x}|${NONE:-x}|${NONE}", "||x|x|x|"),
        ("${A:+y}|${B:+y}|${B+y}|${NONE+y}", "y||y|"),
        ("${NONE:-${B:-deep}}", "deep"),
        ("${NONE:-a}b}", "ab}"),
        ("${A:?why}", "1"),
        ("${A", "1"),
        ("$-${1}", "$-"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, filled: str) -> None:
    assert interpolate(text, {"A": "1", "B": ""}) == filled


def test_a_variable_that_has_to_be_set_is_told_where_it_matters(lay_out: LayOut) -> None:
    with pytest.raises(RequiredError, match="X has to be set: please"):
        interpolate("${X:?please}", {})

    lay_out({"compose.yml": "services:\n  app:\n    image: ${I:?name}\n    scale: ${N:?number}\n"})
    services, problems = read_compose("compose.yml", {})

    assert services is not None
    assert [(one.line, one.message) for one in problems] == [
        (4, "N has to be set: number"),
        (4, "'' is no number"),
    ]


def test_lines_that_set_nothing_are_left_alone() -> None:
    assert variables_in("\ufeffA=1\n\nnothing\n =x\n#B=2\n", {}) == [("A", "1", 1)]


# What is no compose file


@pytest.mark.parametrize(
    "text",
    [
        "",
        "services:\n",
        "services: [a]\n",
        "services: {a: [\n",
        "- 1\n",
        "\t",
        "services: {app: {image: a, scale: many, mem_limit: huge, stop_grace_period: soon}}\n",
        "services:\n  ? [a]\n  : x\n  app: {extends: nobody, env_file: missing.env}\n",
    ],
)
def test_each_mistake_is_one_line(lay_out: LayOut, text: str) -> None:
    lay_out({"compose.yml": text})
    _, problems = read_compose("compose.yml", {})

    assert problems
    assert all(one.what == "compose" and "\n" not in one.message for one in problems)


def test_one_that_is_a_part_of_itself_comes_to_an_end(lay_out: LayOut) -> None:
    text = "services:\n  app: &a\n    image: uwsgi\n    environment: *a\n    <<: *a\n"
    lay_out({"compose.yml": f"{text}    extends: {{service: app}}\n"})

    assert read("compose.yml").compose.services == {"application": "app"}


def test_anchors_that_fold_up_do_not_fill_the_memory(lay_out: LayOut) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for one, before in zip("bcdefghijklm", "abcdefghijkl", strict=True):
        lines.append(f"{one}: &{one} [{','.join([f'*{before}'] * 9)}]")
    lines.append("services: {app: {image: uwsgi, environment: *m, command: *m, env_file: *m}}")
    lay_out({"compose.yml": "\n".join(lines)})

    services, _ = read_compose("compose.yml", {})

    assert services is not None
