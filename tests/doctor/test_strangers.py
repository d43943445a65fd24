"""Files as strangers have them, with more or less in them than the doctor would wish for."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from tests.doctor.helpers import doctor

WELL = """\
[uwsgi]
strict = true
master = true
need-app = true
harakiri = 30
buffer-size = 65535
hook-master-start = unix_signal:15 gracefully_kill_them_all
http-socket = 127.0.0.1:8000
"""


def lay_out(files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SITE = """\
server {
    listen 80;
    location / { include uwsgi_params; uwsgi_pass 127.0.0.1:8000; }
}
"""


def test_a_site_of_nginx_does_not_tell_how_many_connections_there_are() -> None:
    # They stand in /etc/nginx/nginx.conf; here nginx would refuse to be told.
    lay_out({"uwsgi.ini": WELL + "processes = 64\nthreads = 16\n", "nginx.conf": SITE})

    said = doctor()

    assert "worker-connections-too-few" not in doctor("--json").found
    assert "? x ? connections" in said.out


def test_without_events_nginx_has_its_default() -> None:
    whole = f"events {{}}\nhttp {{ {SITE} }}"
    lay_out({"uwsgi.ini": WELL + "processes = 64\nthreads = 16\n", "nginx.conf": whole})

    assert "worker-connections-too-few" in doctor("--json").found


@pytest.mark.parametrize("plugin", ["dogstatsd", "0:python3, /usr/lib/uwsgi/dogstatsd_plugin.so"])
def test_options_of_a_plugin_that_does_not_come_with_uwsgi_are_its_own(plugin: str) -> None:
    lay_out({"uwsgi.ini": f"{WELL}plugins = {plugin}\ndogstatsd-all-gauges = true\n"})

    assert doctor("--json").found == []


def test_options_of_a_plugin_that_comes_with_uwsgi_are_known() -> None:
    lay_out({"uwsgi.ini": f"{WELL}plugins = http\nhttp-soket = :80\n"})

    assert doctor("--json").found == ["uwsgi-unknown-option"]


def test_nobody_is_told_to_have_uwsgi_reload_another() -> None:
    lay_out({"uwsgi.ini": f"{WELL}preload = true\n"})

    (found,) = (one for one in doctor("--json").json["findings"] if one["level"] != "OK")

    assert found["fix"] == "; preload = ..."


def test_of_a_compose_file_alone_nobody_knows_how_long_requests_take() -> None:
    lay_out({"docker-compose.yml": "services:\n  web:\n    command: uwsgi --socket :9000\n"})

    assert doctor("--json").found == []


FLASK = """\
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
app = Flask(__name__)
db = SQLAlchemy()
def made():
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql://db/x"
    db.init_app(app)
    return app
"""


def test_what_flask_sqlalchemy_is_to_be_given_stands_in_its_setting() -> None:
    lay_out({"uwsgi.ini": WELL + "module = app:made()\n", "app.py": FLASK})

    fixes = {one["id"]: one["fix"] for one in doctor("--json").json["findings"]}

    options = "SQLALCHEMY_ENGINE_OPTIONS = "
    assert fixes["no-pre-ping-no-recycle"] == (
        f'{options}{{\n    "pool_pre_ping": True,\n    "pool_recycle": 280,\n}}'
    )
    assert fixes["no-statement-limit"] == (
        f'{options}{{\n    "connect_args": {{"options": "-c statement_timeout=28000"}},\n}}'
    )


def test_what_is_to_be_written_can_be_copied_from_a_terminal() -> None:
    lay_out(
        {
            "uwsgi.ini": WELL + "module = app:made()\n",
            "app.py": FLASK.replace("postgresql", "mysql+mysqldb"),
        }
    )

    lines = doctor().out.splitlines()

    first = lines.index(" " * 10 + "SQLALCHEMY_ENGINE_OPTIONS = {")
    copied = dedent("\n".join(lines[first : first + 3]))
    assert ast.literal_eval(copied.partition(" = ")[2]) == {
        "connect_args": {"init_command": "SET max_statement_time = 28"}
    }


def test_a_limit_for_statements_of_an_unknown_database_is_told_for_each() -> None:
    code = "import os\nfrom sqlalchemy import create_engine\n"
    lay_out(
        {
            "uwsgi.ini": WELL + "module = app:app\nlazy-apps = true\n",
            "app.py": f"{code}engine = create_engine(os.environ['NOWHERE_SET'])\n",
        }
    )
    fixes = {one["id"]: one["fix"] for one in doctor("--json").json["findings"]}

    assert "max_statement_time = 28" in fixes["no-statement-limit"]
    assert "max_execution_time = 28000" in fixes["no-statement-limit"]
    assert "statement_timeout=28000" in fixes["no-statement-limit"]


CONTAINER = """\
services:
  web:
    command: uwsgi uwsgi.ini
    stop_grace_period: 60s
"""


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ("    ulimits: {nofile: 20}\n", ["open-files-too-few"]),
        ("    ulimits: {nofile: {soft: 20, hard: 40}}\n", ["open-files-too-few"]),
        ("    pids_limit: 12\n", ["process-limit-too-low"]),
        ("    deploy: {resources: {limits: {pids: 12}}}\n", ["process-limit-too-low"]),
        ("    sysctls: [net.core.somaxconn=50]\n", ["listen-above-somaxconn"]),
        ("    sysctls: {net.core.somaxconn: 50}\n", ["listen-above-somaxconn"]),
        ("    pids_limit: -1\n    ulimits: {nofile: -1}\n", []),
    ],
)
def test_the_limits_of_a_container_are_those_of_its_compose_file(
    limits: str, found: list[str]
) -> None:
    lay_out({"uwsgi.ini": WELL, "docker-compose.yml": CONTAINER + limits})

    said = doctor("--json")

    assert said.found == found
    for one in said.json["findings"]:
        if one["id"] in ("open-files-too-few", "process-limit-too-low") and found:
            assert one["level"] == "OK" or one["file"] == "docker-compose.yml"


def test_a_container_may_have_a_longer_queue_than_this_machine() -> None:
    longer = "    sysctls: {net.core.somaxconn: 65536}\n"
    lay_out({"uwsgi.ini": f"{WELL}listen = 65000\n", "docker-compose.yml": CONTAINER + longer})

    assert doctor("--json").found == []


def test_an_emperor_serves_nothing_and_is_not_examined() -> None:
    lay_out({"uwsgi.ini": "[uwsgi]\nemperor = /etc/uwsgi/vassals\nuid = www-data\n"})

    said = doctor("--json")

    assert (said.status, said.found) == (3, [])
    assert "vassals" in said.json["could_not_look"][0]["message"]


def test_what_the_application_says_of_its_settings_is_not_told() -> None:
    lay_out(
        {
            "uwsgi.ini": f"{WELL}module = app:app\nreload-os-env = true\n"
            "env = SMTP_PASS=hunter2222\nenv = DB=mysql://u:envpw5555@h/d\n",
            "docker-compose.yml": "services:\n  web:\n    command: uwsgi uwsgi.ini\n"
            "    environment: {STRIPE_API_KEY: sklive0001}\n",
            "app.py": "import os\nfrom urllib.parse import urlsplit\n"
            "raise RuntimeError('cannot: %s %s %s' % (os.environ['SMTP_PASS'],\n"
            "    urlsplit(os.environ['DB']).password, os.environ['STRIPE_API_KEY']))\n",
        }
    )

    for said in (doctor("--load"), doctor("--load", "--json")):
        assert "RuntimeError: cannot: *** *** ***" in " ".join(said.out.split())
        assert said.status == 3


DEBUG_BY_STAGE = """\
import os
from flask import Flask
app = Flask(__name__)
app.config.from_object("settings." + os.environ.get("STAGE", "development").title())
"""


def test_debug_mode_that_only_importing_tells_is_mended_in_the_settings() -> None:
    lay_out(
        {
            "uwsgi.ini": f"{WELL}module = app:app\n",
            "app.py": DEBUG_BY_STAGE,
            "settings.py": "class Development:\n    DEBUG = True\n",
        }
    )
    assert doctor("--json").found == []

    said = doctor("--load", "--json")

    assert said.found == ["flask-debug"]
    assert said.json["findings"][0]["fix"].startswith("DEBUG = False")


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("app.config['COMMONPOOL_DEADLINE'] = 40", "COMMONPOOL_DEADLINE = 27"),
        ("app.wsgi_app = CommonPoolMiddleware(app, PoolConfig(deadline=40))", "deadline=27"),
    ],
)
def test_a_setting_in_code_is_mended_as_it_stands_there(code: str, fix: str) -> None:
    imports = "from flask import Flask\nfrom commonpool import CommonPoolMiddleware, PoolConfig\n"
    lay_out(
        {
            "uwsgi.ini": f"{WELL}module = app:app\n",
            "app.py": f"{imports}app = Flask(__name__)\n{code}\n",
        }
    )
    (found,) = (one for one in doctor("--json").json["findings"] if one["level"] != "OK")

    assert (found["file"], found["line"], found["fix"]) == ("app.py", 4, fix)


@pytest.mark.parametrize(
    ("socket", "ours", "others"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000", "127.0.0.1:9000"),
        (":8000", "app:8000", "unix:/run/other.sock"),
        ("/run/u.sock", "unix:///run/u.sock", "unix:/run/other.sock"),
    ],
)
def test_what_nginx_passes_to_another_uwsgi_is_not_measured_by_this_one(
    socket: str, ours: str, others: str
) -> None:
    ini = WELL.replace("http-socket = 127.0.0.1:8000", f"socket = {socket}")
    site = (
        "server {{ include uwsgi_params;"
        " location / {{ uwsgi_pass {0}; uwsgi_read_timeout 35s; }}\n"
        " location /other {{ uwsgi_pass {1}; uwsgi_read_timeout 5s; }} }}\n"
    )
    lay_out({"uwsgi.ini": f"{ini}chmod-socket = 660\nvacuum = true\n", "nginx.conf": ""})

    Path("nginx.conf").write_text(site.format(ours, others))
    assert doctor("--json").found == []

    Path("nginx.conf").write_text(site.format(others, ours))
    assert doctor("--json").found == ["read-timeout-not-above-harakiri"]


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("- COMMONPOOL_DEADLINE=45", "- COMMONPOOL_DEADLINE=27"),
        ("COMMONPOOL_DEADLINE: 45", 'COMMONPOOL_DEADLINE: "27"'),
    ],
)
def test_an_environment_that_is_a_list_is_mended_as_one(line: str, fix: str) -> None:
    environment = f"    environment:\n      {line}\n"
    lay_out({"uwsgi.ini": WELL, "docker-compose.yml": CONTAINER + environment})

    (found,) = (one for one in doctor("--json").json["findings"] if one["level"] != "OK")

    assert (found["file"], found["line"], found["fix"]) == ("docker-compose.yml", 6, fix)


def test_a_compose_file_for_a_database_to_develop_with_is_told_and_no_reason_to_fail() -> None:
    database = "services:\n  db:\n    image: mariadb\n"
    lay_out({"uwsgi.ini": WELL, "docker-compose.yml": database})

    said = doctor()

    assert said.status == 0
    assert "not looked at: docker-compose.yml: has no service" in said.out
    assert doctor("--compose", "docker-compose.yml").status == 3
    Path("uwsgi.ini").unlink()
    assert doctor().status == 3
