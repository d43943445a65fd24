"""What uWSGI itself makes of a file, and which sizes win when it is started: real uWSGI."""

from __future__ import annotations

import os
import pwd
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from commonpool.chain.measured import Sizes
from commonpool.tune import configuration, edits, serving
from commonpool.tune.configuration import ask, find_program
from commonpool.tune.errors import TuneError
from commonpool.tune.serving import Place, hide_passwords
from tests.helpers import wait_until
from tests.tune.helpers import FOLDER, INI, an_ini, environ, left_of

HEAD = "[uwsgi]\nmaster = true\nlazy-apps = true\nwsgi-file = {folder}/sleepy.py\n"

OUTSIDE = {"COMMONPOOL_MAX_WORKERS": "9", "POOL": "9"}

WRITTEN = {
    "plain": HEAD + "processes = 1\nthreads = 1\nenv = COMMONPOOL_MAX_WORKERS=2\nenv = POOL=2\n",
    "left out": HEAD,
    "only where the environment has none": HEAD
    + "if-not-env = COMMONPOOL_MAX_WORKERS\nenv = COMMONPOOL_MAX_WORKERS=2\nendif =\n",
    "placeholders": HEAD
    + "set-placeholder = p=1\nset-placeholder = t=1\nprocesses = %(p)\nthreads = %(t)\n",
    "aliases": HEAD + "workers = 1\nthreads = 1\n",
    "cheaper": HEAD + "processes = 4\ncheaper = 1\nthreads = 2\n",
    "without a master": HEAD.replace("master = true\n", "") + "processes = 2\n",
    "with the application in the master": HEAD.replace("lazy-apps = true\n", ""),
}


def a_place(folder: Path, ini: Path, **more: str) -> Place:
    outside = {**environ(folder), **more}
    return Place(
        find_program(),
        ini,
        outside,
        "POOL",
        edits.placeholders(edits.read(ini, outside)),
        folder / "log",
    )


@pytest.mark.parametrize(
    ("text", "outside"),
    [*((text, {}) for text in WRITTEN.values()), (WRITTEN["plain"], OUTSIDE), (HEAD, OUTSIDE)],
    ids=[*WRITTEN, "plain, and set outside", "set outside alone"],
)
def test_the_sizes_that_are_tried_win_however_the_file_is_written(
    tmp_path: Path, text: str, outside: dict[str, str]
) -> None:
    place = a_place(tmp_path, an_ini(tmp_path, text), **outside)
    sizes = Sizes(3, 2, 5, 7)
    with place.serve(sizes) as server:
        assert len(server.workers) == 3
        for worker in server.workers:  # one that is forked makes its threads a moment later
            wait_until(lambda worker=worker: worker.num_threads() >= 2)
        assert values(server.url, "COMMONPOOL_MAX_WORKERS", "POOL") == {
            "COMMONPOOL_MAX_WORKERS": "5",
            "POOL": "7",
        }
    assert not left_of(tmp_path)


def values(url: str, *names: str) -> dict[str, str]:
    """The variables that the application finds in os.environ."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        query = "&".join(f"env={name}" for name in names)
        connection.sendall(f"GET /?s=0&{query} HTTP/1.0\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            body = answer.read().partition(b"\r\n\r\n")[2].decode()
    return dict(line.partition("=")[::2] for line in body.splitlines())


def test_what_follows_a_placeholder_follows_the_size(tmp_path: Path) -> None:
    text = HEAD + "set-placeholder = t=1\nthreads = %(t)\nenv = OVERFLOW=%(t)\nenv = RAW=50%%(t)\n"
    place = a_place(tmp_path, an_ini(tmp_path, text))
    with place.serve(Sizes(1, 6, 2, 2)) as server:
        assert values(server.url, "OVERFLOW") == {"OVERFLOW": "6"}


def test_a_production_server_with_the_same_file_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "production.sock"
    more = (
        "vacuum = true\nstats = {folder}/stats.sock\nmaster-fifo = {folder}/fifo\n"
        "pidfile = {folder}/pid\nsafe-pidfile = {folder}/pid2\ndaemonize = {folder}/log\n"
        "touch-reload = {folder}/touch\n"
    ).replace("{folder}", str(tmp_path / "production"))
    (tmp_path / "production").mkdir()
    (tmp_path / "production" / "touch").touch()
    ini = an_ini(tmp_path, INI.replace("strict", more + "strict"), socket=str(path))
    with socket.socket(socket.AF_UNIX) as production:
        production.bind(str(path))
        production.listen()
        place = a_place(tmp_path, ini)
        with place.serve(Sizes(2, 1, 2, 2)) as server:
            assert len(server.workers) == 2
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))  # it is still the one that listens there
    assert [entry.name for entry in (tmp_path / "production").iterdir()] == ["touch"]
    assert not left_of(tmp_path)


def test_an_application_that_does_not_come_up_is_an_error_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no database at mysql://me:pw@db/')\n")
    ini = an_ini(tmp_path, f"[uwsgi]\nmaster=true\nwsgi-file = {tmp_path}/broken.py\n")
    place = a_place(tmp_path, ini)
    with pytest.raises(TuneError, match="does not start with 1 x 1, 2 workers") as caught:
        place.serve(Sizes(1, 1, 2)).__enter__()
    assert "RuntimeError: no database at mysql://me:***@db/" in str(caught.value)
    assert "pw" not in str(caught.value)
    assert not left_of(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_has_uwsgi_become_somebody_else_is_served_as_well(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # which others can read
        application = Path(name) / "app.py"
        application.write_text(
            "def application(environ, start):\n    start('200 OK', [])\n    return []\n"
        )
        Path(name).chmod(0o755)
        ini = an_ini(
            tmp_path,
            "[uwsgi]\nmaster = true\nuid = nobody\ngid = 65534\n" + f"wsgi-file = {application}\n",
        )
        with a_place(tmp_path, ini).serve(Sizes(1, 2, 2)) as server:
            nobody = pwd.getpwnam("nobody").pw_uid
            assert [worker.uids().real for worker in server.workers] == [nobody]
            assert server.tasks.parent.owner() == "nobody"  # so it can tell its tasks there
    assert not left_of(tmp_path)


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("*** WARNING: you are running uWSGI as root !!! ***\n", ""),
        (" *** WARNING: you have enabled harakiri without post buffering. ***\n", ""),
        ("OSError: write error\n", ""),
        ("DAMN ! worker 1 (pid: 7) died :( trying respawn ...\n", "DAMN ! worker 1 (pid: 7) died"),
    ],
)
def test_what_uwsgi_says_of_itself_is_no_reason_but_the_end_of_a_worker_is(
    tmp_path: Path, log: str, error: str
) -> None:
    with a_place(tmp_path, an_ini(tmp_path)).serve(Sizes(1, 1, 2)) as server:
        server.log.write_text(log)
        assert server.last_error().startswith(error)
        assert bool(server.last_error()) == bool(error)


def test_it_ends_whatever_happens_while_it_runs(tmp_path: Path) -> None:
    serving = a_place(tmp_path, an_ini(tmp_path)).serve(Sizes(2, 2, 2))

    def fail() -> None:
        with serving:
            assert left_of(tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not left_of(tmp_path)


def test_a_mistake_in_the_file_is_what_uwsgi_says_of_it(tmp_path: Path) -> None:
    ini = an_ini(tmp_path, "[uwsgi]\nstrict = true\nproceses = 2\n")
    with pytest.raises(TuneError, match="unknown config directive: proceses"):
        ask(find_program(), ini, tmp_path, os.environ)


def test_a_port_that_somebody_else_takes_first_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = serving._free_port  # noqa: SLF001 - what others do meanwhile cannot be had otherwise
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        ports = iter([somebody.getsockname()[1]])
        monkeypatch.setattr(serving, "_free_port", lambda: next(ports, 0) or free())
        with a_place(tmp_path, an_ini(tmp_path)).serve(Sizes(1, 1, 2)) as server:
            assert values(server.url, "COMMONPOOL_MAX_WORKERS") == {"COMMONPOOL_MAX_WORKERS": "2"}
    assert not left_of(tmp_path)


def test_without_uwsgi_there_is_nothing_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TuneError, match=r"there is no uwsgi, neither beside .*: pip install uwsgi"):
        find_program()


def test_an_event_loop_has_no_threads_to_vary(tmp_path: Path) -> None:
    ini = an_ini(tmp_path, "[uwsgi]\ngevent = 100\n")
    with pytest.raises(TuneError, match="sets gevent: tune varies threads"):
        ask(find_program(), ini, tmp_path, os.environ).require_threads(ini)


def test_includes_yaml_and_the_environment_are_read_as_uwsgi_does(tmp_path: Path) -> None:
    (tmp_path / "inner.ini").write_text("[uwsgi]\nthreads = $(HOW_MANY)\n")
    ini = an_ini(tmp_path, f"[uwsgi]\nprocesses = 3\nini = {tmp_path}/inner.ini\n")
    told = ask(find_program(), ini, tmp_path, {**os.environ, "HOW_MANY": "6"})
    assert told.sizes({}, None) == Sizes(3, 6, 32)
    yaml = tmp_path / "uwsgi.yaml"
    yaml.write_text("uwsgi:\n  processes: 3\n  threads: 4\n")
    assert ask(find_program(), yaml, tmp_path, os.environ).sizes({}, None) == Sizes(3, 4, 32)


def test_passwords_are_hidden() -> None:
    assert hide_passwords("mysql://me:geheim@db/x") == "mysql://me:***@db/x"
    assert hide_passwords("DATABASE_PASSWORD=geheim and") == "DATABASE_PASSWORD=*** and"
    assert FOLDER.is_dir()


def test_uwsgi_has_ended_when_it_has_told_how_it_reads_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "_STOP", "sleep 0.5; exit 7")
    ini = an_ini(tmp_path)
    with tempfile.TemporaryDirectory() as folder:
        ask(find_program(), ini, Path(folder), environ(tmp_path))
        assert not left_of(tmp_path)
