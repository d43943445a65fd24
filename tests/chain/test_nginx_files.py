"""nginx's configuration: what counts in each location that passes requests on."""

from __future__ import annotations

import getpass
import http.client
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from commonpool.chain.model import Nginx, NginxLocation
from commonpool.chain.nginx_files import read_nginx
from commonpool.chain.reading import read_chain
from stack.native import nginx as native
from tests.helpers import wait_until

ROOT = Path(__file__).resolve().parents[2]
LayOut = Callable[[Mapping[str, str]], Path]

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin") is None
    and not os.environ.get("CI"),
    reason="nginx is not installed",
)


def read(file: str, values: Mapping[str, str] | None = None) -> Nginx:
    nginx, problems = read_nginx(file, values or {})
    assert problems == []
    return nginx


def location(nginx: Nginx, path: str) -> NginxLocation:
    found = [one for one in nginx.locations if one.path == path]
    assert len(found) == 1, [one.path for one in nginx.locations]
    return found[0]


def arguments(one: NginxLocation, name: str) -> list[tuple[str, ...]]:
    return [setting.value for setting in one.directives.get(name, ())]


LEVELS = """
events { worker_connections 100; }
worker_processes 2;
http {
  add_header X-A http always;
  uwsgi_read_timeout 10s;
  uwsgi_param A 1;
  upstream app { server unix:/run/a.sock; server 10.0.0.1:3031 max_fails=2; keepalive 4; }
  server {
    listen 127.0.0.1:PORT;
    uwsgi_read_timeout 20s;
    location / { uwsgi_pass unix:/nowhere; }
    location /b {
      add_header X-B location always;
      uwsgi_param B 2;
      uwsgi_read_timeout 30s;
      uwsgi_pass app;
      location /b/c { uwsgi_pass unix:/nowhere; }
      location /b/d { add_header X-D nested always; uwsgi_pass unix:/nowhere; }
      location /b/none { return 200; }
    }
    location ~ ^/api { proxy_pass http://127.0.0.1:8000; }
  }
}
"""


def test_directives_are_inherited_and_replaced_as_a_whole(lay_out: LayOut) -> None:
    lay_out({"nginx.conf": LEVELS.replace("PORT", "8080")})
    nginx = read("nginx.conf")

    assert [one.path for one in nginx.locations] == ["/", "/b", "/b/c", "/b/d", "~ ^/api"]
    outer, inner, nested = location(nginx, "/"), location(nginx, "/b"), location(nginx, "/b/c")
    assert arguments(outer, "uwsgi_read_timeout") == [("20s",)]
    assert arguments(inner, "uwsgi_read_timeout") == [("30s",)]
    assert arguments(nested, "uwsgi_read_timeout") == [("30s",)]
    assert arguments(outer, "uwsgi_param") == [("A", "1")]
    assert arguments(inner, "uwsgi_param") == [("B", "2")]
    assert arguments(nested, "add_header") == [("X-B", "location", "always")]
    assert {name: one[-1].value for name, one in nginx.main.items()} == {
        "worker_processes": ("2",),
        "worker_connections": ("100",),
    }


def test_upstreams_are_looked_up(lay_out: LayOut) -> None:
    lay_out({"nginx.conf": LEVELS.replace("PORT", "8080")})
    nginx = read("nginx.conf")

    inner = location(nginx, "/b")
    assert inner.upstream == ["unix:/run/a.sock", "10.0.0.1:3031"]
    assert arguments(inner, "upstream.server")[1] == ("10.0.0.1:3031", "max_fails=2")
    assert arguments(inner, "upstream.keepalive") == [("4",)]
    assert (inner.protocol, inner.server, inner.line) == ("uwsgi", "127.0.0.1:8080", 13)
    api = location(nginx, "~ ^/api")
    assert (api.upstream, api.protocol) == (["127.0.0.1:8000"], "http")


@needs_nginx
def test_nginx_itself_inherits_so(lay_out: LayOut) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder = lay_out({"nginx.conf": LEVELS.replace("PORT", str(port)), "logs/x": ""})
    command = [native.find_program("nginx"), "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    server = subprocess.Popen(
        [*command, "-g", f"daemon off; pid logs/pid; {user}"], stderr=subprocess.DEVNULL
    )

    def asked(path: str) -> set[str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        connection.close()
        return {name for name, _ in answer.getheaders() if name.startswith("X-")}

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, limit=20)
        nginx = read("nginx.conf")
        for path in ("/", "/b/c", "/b/d"):
            ours = {name for name, *_ in arguments(location(nginx, path), "add_header")}
            assert asked(path) == ours, path
    finally:
        server.terminate()
        server.wait()


def test_several_servers_with_several_names(lay_out: LayOut) -> None:
    lay_out(
        {
            "nginx.conf": "http { server { server_name a.org b.org; listen 80; listen [::]:443 ssl;"
            " location / { uwsgi_pass unix:/a; } }\n"
            "server { listen unix:/run/x.sock; location / { uwsgi_pass unix:/b; } }\n"
            "server { server_name c.org; location / { uwsgi_pass unix:/c; } } }"
        }
    )

    assert [one.server for one in read("nginx.conf").locations] == [
        "a.org b.org:80,443",
        "unix:/run/x.sock",
        "c.org:80",
    ]


def test_includes_are_relative_to_the_folder_of_the_whole(lay_out: LayOut) -> None:
    lay_out(
        {
            "etc/nginx.conf": "http { include sites/*.conf; }",
            "etc/sites/a.conf": "server { include snippets/pass.conf; }",
            "etc/sites/b.conf": "server { location /b { include snippets/params.conf;"
            " uwsgi_pass unix:/b; } }",
            "etc/snippets/pass.conf": "location /a {\n uwsgi_pass unix:/a;\n}",
            "etc/snippets/params.conf": "uwsgi_param A 1;\nuwsgi_param B 2;\n",
        }
    )
    nginx = read("etc/nginx.conf")

    assert [(one.path, one.file, one.line) for one in nginx.locations] == [
        ("/a", "etc/snippets/pass.conf", 1),
        ("/b", "etc/sites/b.conf", 1),
    ]
    params = location(nginx, "/b").directives["uwsgi_param"]
    assert [(one.file, one.line) for one in params] == [
        ("etc/snippets/params.conf", 1),
        ("etc/snippets/params.conf", 2),
    ]


@pytest.mark.parametrize(
    ("text", "server", "path"),
    [
        ("server { location / { uwsgi_pass app; } }\nupstream app { server a:1; }", "*:80", "/"),
        ("upstream app { server a:1; }\nlocation /x { uwsgi_pass app; }", "", "/x"),
    ],
)
def test_a_part_of_a_configuration_is_read_too(
    lay_out: LayOut, text: str, server: str, path: str
) -> None:
    lay_out({"site.conf": text})
    found = read("site.conf").locations

    assert [(one.server, one.path, one.upstream) for one in found] == [(server, path, ["a:1"])]


def test_a_part_without_a_location_tells_its_directives(lay_out: LayOut) -> None:
    lay_out({"timeouts.conf": "uwsgi_read_timeout 35s;\n"})

    assert read("timeouts.conf").main["uwsgi_read_timeout"][0].value == ("35s",)


def test_conditions_in_a_location_that_pass_on_are_there_too(lay_out: LayOut) -> None:
    lay_out(
        {
            "a.conf": "location / { uwsgi_param A 1; uwsgi_pass unix:/a;"
            " if ($http_x = 1) { uwsgi_pass unix:/b; } }"
        }
    )
    found = read("a.conf").locations

    assert [one.upstream for one in found] == [["unix:/a"], ["unix:/b"]]
    assert "if" in found[1].path
    assert arguments(found[1], "uwsgi_param") == [("A", "1")]


def test_variables_stay_as_they_are(lay_out: LayOut) -> None:
    lay_out({"a.conf": "location / { uwsgi_pass $backend; uwsgi_param A $x; }"})
    found = read("a.conf").locations[0]

    assert found.upstream == ["$backend"]
    assert arguments(found, "uwsgi_param") == [("A", "$x")]


def test_addresses_of_proxies(lay_out: LayOut) -> None:
    targets = {
        "http://unix:/run/x.sock:/uri": "unix:/run/x.sock",
        "http://app/": "app",
        "https://a.org:8443": "a.org:8443",
    }
    lay_out({"a.conf": "\n".join(f"location /x {{ proxy_pass {one}; }}" for one in targets)})

    assert [one.upstream[0] for one in read("a.conf").locations] == list(targets.values())


# Templates


def test_templates_are_filled_in_and_lines_are_theirs(lay_out: LayOut) -> None:
    lay_out(
        {
            "nginx.conf": "http { include conf.d/*.conf; }",
            "templates/site.conf.template": "server { listen ${LISTEN};\n"
            "location / { uwsgi_read_timeout ${LIMIT}; uwsgi_pass unix:/a; } }",
            "docker/start.sh": "#!/bin/sh\nexport LISTEN=${LISTEN:-8080} LIMIT=${LIMIT:-30s}\n",
        }
    )
    nginx = read("nginx.conf", {"LIMIT": "40s"})

    found = location(nginx, "/")
    assert found.server == "*:8080"
    assert arguments(found, "uwsgi_read_timeout") == [("40s",)]
    assert (found.file, found.line) == ("templates/site.conf.template", 2)


def test_a_template_without_a_value_is_told_in_plain_words(lay_out: LayOut) -> None:
    lay_out(
        {
            "nginx.conf": "http { include conf.d/a.conf; }",
            "templates/a.conf.template": "server { listen ${LISTEN};\n"
            "location / { uwsgi_pass unix:/a; } }",
        }
    )
    nginx, problems = read_nginx("nginx.conf", {})

    assert [one.path for one in nginx.locations] == ["/"]
    assert [(one.file, "${LISTEN} has no value" in one.message) for one in problems] == [
        ("templates/a.conf.template", True)
    ]


# The stack's own


def test_the_stacks_own_configuration_is_read_before_it_is_laid_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    nginx = read("nginx/nginx.conf")

    found = location(nginx, "/")
    assert arguments(found, "uwsgi_read_timeout") == [("35s",)]
    assert arguments(found, "limit_conn") == [("clients", "30")]
    assert location(nginx, "= /healthz").protocol == "uwsgi"


def test_the_compose_file_fills_in_the_stacks_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    chain = read_chain(
        nginx="nginx/nginx.conf", compose="docker-compose.yml", environ={"CLIENT_CONNECTIONS": "31"}
    )

    assert chain.unreadable == ()
    assert chain.nginx is not None
    assert arguments(location(chain.nginx, "/"), "limit_conn") == [("clients", "31")]


@needs_nginx
def test_every_file_is_read_that_nginx_reads(tmp_path: Path) -> None:
    command = native.prepare(tmp_path, port=8080, uwsgi_socket=tmp_path / "uwsgi.sock")
    dumped = subprocess.run(
        [*command, "-T"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    theirs = set(re.findall(r"^# configuration file (.*):$", dumped, re.MULTILINE))

    nginx = read(str(tmp_path / "nginx" / "nginx.conf"))

    everything = [*nginx.main.values()]
    for one in nginx.locations:
        everything += one.directives.values()
    ours = {setting.file for settings in everything for setting in settings}
    assert ours <= theirs
    # What is left says nothing that counts in a location that passes requests on.
    assert {Path(name).name for name in theirs - ours} <= {
        *("nginx.conf", "static.conf", "errors.conf", "request_id.conf", "forwarded.conf"),
        "site.conf",
    }
    assert location(nginx, "/").upstream == [f"unix:{tmp_path}/uwsgi.sock"]
