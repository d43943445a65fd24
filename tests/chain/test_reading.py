"""The whole chain, of files as they are and as they ought not to be."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from commonpool.chain.model import Chain, Setting
from commonpool.chain.reading import read_chain
from stack.native import nginx as native

ROOT = Path(__file__).resolve().parents[2]
LayOut = Callable[[Mapping[str, str]], Path]


def pool(chain: Chain) -> dict[str, object]:
    return {name: setting.value for name, setting in chain.pool.items()}


# The stack's own


def test_the_stacks_own_files_are_read_without_a_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.lay_out(tmp_path, port=8080, servers="server unix:/run/stack/uwsgi.sock;\n")
    monkeypatch.chdir(ROOT)

    chain = read_chain(
        uwsgi="uwsgi.ini",
        nginx=str(tmp_path / "nginx" / "nginx.conf"),
        compose="docker-compose.yml",
        environ={},
    )

    assert chain.unreadable == ()
    assert chain.uwsgi is not None
    assert chain.uwsgi.version is not None
    assert chain.uwsgi.version >= (2, 0, 26)
    assert chain.uwsgi.get("socket") == Setting(
        "/run/stack/uwsgi.sock", "uwsgi.ini", chain.uwsgi.options["socket"][0].line, "%(listen-on)"
    )
    assert pool(chain)["max_workers"] == 24
    assert pool(chain)["deadline"] == pytest.approx(27)
    assert pool(chain)["max_queue"] == 96
    assert chain.database is not None
    assert chain.database.variables["max_connections"].value == 300
    assert chain.host is not None
    assert chain.nginx is not None
    assert chain.application is not None
    json.dumps(asdict(chain), default=str)  # all of it can be written down


def test_nothing_asked_for_is_nothing_read_but_the_machine() -> None:
    chain = read_chain(environ={})

    assert chain.host is not None
    assert chain.pool["max_workers"] == Setting(32, "default")
    assert chain.pool["deadline"] == Setting(math.inf, "default")
    assert (chain.uwsgi, chain.nginx, chain.application, chain.database) == (None,) * 4
    assert (chain.compose, chain.site, chain.unreadable) == (None, None, ())


# Whose value counts


COMPOSE = (
    "services:\n  app:\n    image: a\n    environment: {COMMONPOOL_MAX_WORKERS: 1,"
    " COMMONPOOL_MAX_QUEUE: 1, COMMONPOOL_DRAIN_TIMEOUT: 1, COMMONPOOL_DEADLINE: ''}\n"
)
INI = (
    "[uwsgi]\nharakiri = 20\nenv = COMMONPOOL_MAX_WORKERS=3\n"
    "if-not-env = COMMONPOOL_MAX_QUEUE\nenv = COMMONPOOL_MAX_QUEUE=3\nendif =\n"
)


def test_uwsgis_env_counts_before_what_is_set_outside_and_that_before_the_compose_file(
    lay_out: LayOut,
) -> None:
    lay_out({"compose.yml": COMPOSE, "uwsgi.ini": INI})
    chain = read_chain(
        uwsgi="uwsgi.ini",
        compose="compose.yml",
        environ={"COMMONPOOL_MAX_WORKERS": "2", "COMMONPOOL_MAX_QUEUE": "2"},
    )

    assert chain.unreadable == ()
    assert chain.pool["max_workers"] == Setting(3, "uwsgi.ini", 3)
    assert chain.pool["max_queue"] == Setting(2, "environment")
    assert chain.pool["drain_timeout"] == Setting(1.0, "compose.yml", 4)
    assert chain.pool["deadline"] == Setting(18.0, "uwsgi.ini", 2, "harakiri = 20")


def test_what_the_code_gives_counts_before_all(lay_out: LayOut) -> None:
    lay_out(
        {
            "uwsgi.ini": INI + "module = app\n",
            "app.py": "from commonpool import PoolConfig\nCONFIG = PoolConfig(max_workers=9)\n",
        }
    )
    chain = read_chain(uwsgi="uwsgi.ini", environ={})

    assert chain.pool["max_workers"].value == 9
    assert (chain.pool["max_workers"].file, chain.pool["max_workers"].line) == ("app.py", 2)
    # Nor does a variable count for what it does not name.
    assert chain.pool["max_queue"].value == 36


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("COMMONPOOL_MAX_WORKERS", "many", "must be a whole number"),
        ("COMMONPOOL_MAX_WORKERS", "0", "must be a whole number"),
        ("COMMONPOOL_OVERFLOW", "wait", "'caller_runs' or 'reject'"),
        ("COMMONPOOL_DEADLINE", "-1", "must be a number of seconds"),
        ("COMMONPOOL_MAX_WORKER", "4", "Did you mean COMMONPOOL_MAX_WORKERS?"),
        ("COMMONPOOL_MAX_WORKERS_PER_REQUEST", "64", "from 1 to max_workers"),
    ],
)
def test_a_wrong_setting_of_the_pool_is_one_line_with_its_place(
    lay_out: LayOut, name: str, value: str, words: str
) -> None:
    lay_out({"uwsgi.ini": f"[uwsgi]\nmaster = true\nenv = {name}={value}\n"})
    chain = read_chain(uwsgi="uwsgi.ini", environ={})

    assert [(one.what, one.file, one.line) for one in chain.unreadable] == [
        ("pool", "uwsgi.ini", 3)
    ]
    assert words in chain.unreadable[0].message
    assert pool(chain)["max_workers"] == 32


def test_the_doctors_own_variable_is_none_of_the_pools() -> None:
    assert read_chain(environ={"COMMONPOOL_DOCTOR": "warn"}).unreadable == ()


# Files as they ought not to be


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n \n\t\r\n",
    "random bytes": bytes(range(256)) * 40,
    "null bytes": b"\0" * 4096,
    "one line of 10 MB": b"[uwsgi]\nprocname = " + b"a" * 10_000_000 + b"\n",
    "10 MB without a newline": b"a" * 10_000_000,
    "percent signs": b"[uwsgi]\nx = " + b"%(" * 200_000,
    "brackets": b"[" * 100_000,
    "braces": b"{" * 100_000,
    "UTF-16": "[uwsgi]\nmaster = true\n".encode("utf-16"),
    "latin-1": b"[uwsgi]\nprocname = caf\xe9\nserver { # \xe9\n }\nservices: {app: {a: \xe9}}\n",
    "a byte order mark": b"\xef\xbb\xbf[uwsgi]\nmaster = true\n",
    "carriage returns": b"[uwsgi]\rmaster = true\r",
    "itself": b"[uwsgi]\nini = hostile.ini\ninclude = hostile.ini\ninherit = hostile.ini\n",
    "a value that names itself": b"[uwsgi]\nx = 1%(x)\ny = %(y)%(y)\nz = %(x)%(y)\n",
    "itself, often": b"[uwsgi]\n" + b"ini = hostile.ini\n" * 60,
    "nginx, itself": b"include *;\nlocation / { uwsgi_pass unix:/x; }\n",
    "loops": b"[uwsgi]\nfor-times = 999999999\nx = %(_)\ny = %(_)\nendfor =\n"
    b"for-readline = /dev/zero\nx = %(_)\nendfor =\n",
    "devices": b"[uwsgi]\nx = @(/dev/zero)\ny = @(.)\nenvdir = /dev/null\nini = /dev/zero\n",
    "empty values": b"[uwsgi]\nenv =\nenv = =\nunenv =\nenvdir =\nmodule =\nchdir =\nini =\n"
    b"pythonpath =\nwsgi-file =\nmount =\nstats =\nhome =\nfor =\nif-env =\nset =\n",
    "numbers": b"[uwsgi]\nharakiri = -5\nprocesses = 9999999999999999999999999999999\n"
    b"threads = 0x10\nlisten = \xd9\xa3\n",
}


@pytest.mark.parametrize("kind", ["uwsgi", "nginx", "compose"])
@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_file_is_it_is_read_in_time_and_without_a_traceback(
    lay_out: LayOut, name: str, kind: str
) -> None:
    folder = lay_out({})
    (folder / "hostile.ini").write_bytes(HOSTILE[name])
    begin = time.monotonic()

    chain = read_chain(**{kind: "hostile.ini"}, environ={})  # type: ignore[arg-type]

    assert time.monotonic() - begin < 30
    for one in chain.unreadable:
        assert "mistake" not in one.message, one
        assert "\n" not in one.message
        assert one.message.strip()
    json.dumps(asdict(chain), default=str).encode()


@pytest.mark.parametrize("kind", ["uwsgi", "nginx", "compose"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "no such file"),
        ("folder", "it is a folder"),
        ("pipe", "no regular file"),
        ("/dev/zero", "no regular file"),
        ("loop", "symbolic links"),
        ("a\0b", "null byte"),
        ("a" * 3000, "name too long"),
        ("file/inner", "not a directory"),
        ("", ""),
    ],
)
def test_what_is_no_file_is_one_line(lay_out: LayOut, kind: str, path: str, words: str) -> None:
    folder = lay_out({"file": ""})
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")

    chain = read_chain(**{kind: path}, environ={})  # type: ignore[arg-type]

    assert [one.what for one in chain.unreadable] == [kind]
    assert words in chain.unreadable[0].message
    assert "mistake" not in chain.unreadable[0].message
    assert (chain.uwsgi, chain.nginx, chain.compose) == (None, None, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_one_that_may_not_be_read_is_one_line(lay_out: LayOut) -> None:
    folder = lay_out({"uwsgi.ini": "[uwsgi]\nmaster = true\n"})
    (folder / "uwsgi.ini").chmod(0)

    assert "permission denied" in read_chain(uwsgi="uwsgi.ini").unreadable[0].message


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
def test_one_that_somebody_else_may_not_read_is_one_line(lay_out: LayOut) -> None:
    folder = lay_out({"uwsgi.ini": "[uwsgi]\nmaster = true\n"})
    (folder / "uwsgi.ini").chmod(0)
    code = (
        "import os; from commonpool.chain.text_files import *\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"try: read_bytes({str(folder / 'uwsgi.ini')!r}, 'uwsgi')\n"
        "except NotReadError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "cannot be read: permission denied\n"


def test_one_that_cannot_be_read_does_not_keep_the_rest_from_being_read(lay_out: LayOut) -> None:
    lay_out(
        {
            "uwsgi.ini": "[uwsgi]\nprocesses = 2\ninclude = missing.ini\nmodule = app\n",
            "nginx.conf": "server { location / { uwsgi_pass unix:/x; } }\ninclude missing.conf;\n",
            "compose.yml": "services: {app: {image: a, scale: many}}\n",
            "app.py": "def f(:\n",
        }
    )
    chain = read_chain(
        uwsgi="uwsgi.ini",
        nginx="nginx.conf",
        compose="compose.yml",
        database="mysql://u:s3cret@[::",
        url="nonsense",
        environ={"COMMONPOOL_MAX_WORKERS": "x"},
    )

    assert sorted(one.what for one in chain.unreadable) == [
        *("application", "compose", "database", "nginx", "pool", "site", "uwsgi")
    ]
    assert chain.uwsgi is not None
    assert chain.uwsgi.number("processes") == 2
    assert chain.nginx is not None
    assert len(chain.nginx.locations) == 1
    assert chain.compose is not None
    assert "s3cret" not in repr(chain.unreadable)
    where = {one.what: (one.file, one.line) for one in chain.unreadable}
    assert where["uwsgi"] == ("uwsgi.ini", 3)
    assert where["nginx"] == ("nginx.conf", 2)
