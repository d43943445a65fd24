"""What `make check` finds in nginx's configuration."""

from __future__ import annotations

import re
import shutil

import pytest

from stack.native import check_nginx, nginx
from stack.native.errors import NativeError
from stack.native.programs import find_program


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A copy of the configuration, which is the one that is looked at."""
    copy = tmp_path / "nginx"
    shutil.copytree(nginx.CONFIG, copy)
    monkeypatch.setattr(nginx, "CONFIG", copy)
    return copy


def test_there_is_nothing_to_find(capfd):
    assert check_nginx.main() == 0
    assert "Problem" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("templates/locations.inc.template", "location /moved { return 301 http://$host$uri; }"),
        ("tls/tls.conf.template", "map $uri $without_a_default { /x 1; /y 2; }"),
        ("snippets/sizes.conf", "server_tokens build;"),
    ],
)
def test_what_gixy_finds_is_said(config, capfd, file, line):
    with (config / file).open("a") as stream:
        stream.write(f"{line}\n")
    assert check_nginx.main() == 1
    assert "Problem" in capfd.readouterr().err


def test_what_nginx_finds_is_said(config, capfd):
    try:
        find_program("nginx")
    except NativeError as error:
        pytest.skip(str(error))
    with (config / "tls" / "tls.conf.template").open("a") as stream:
        stream.write("nonsense on;\n")
    assert check_nginx.main() == 1
    assert 'unknown directive "nonsense"' in capfd.readouterr().err


def test_without_nginx_that_is_said_in_one_line(monkeypatch, capfd):
    def missing(name):
        raise NativeError(f"{name} is not installed: somehow")

    monkeypatch.setattr(nginx, "find_program", missing)
    assert check_nginx.main() == 0
    said = capfd.readouterr().err
    assert said == "nginx -t was left out: nginx is not installed: somehow\n"


@pytest.mark.parametrize(("folder", "said_in"), [("templates", "nginx.conf"), ("tls", None)])
def test_each_value_of_a_template_is_described(folder, said_in):
    templates = list((nginx.CONFIG / folder).glob("*.template"))
    assert templates
    text = "".join(template.read_text() for template in templates)
    names = set(re.findall(r"\$\{(\w+)\}", text))
    described = (nginx.CONFIG / said_in).read_text() if said_in else text
    assert names == set(re.findall(r"^#   ([A-Z_]+)  ", described, re.MULTILINE)) - {"NAME"}
