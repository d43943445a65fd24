"""The application as it is once it is imported, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from commonpool.chain.application_load import load_application
from commonpool.chain.model import Application, Setting
from commonpool.chain.reading import read_chain
from commonpool.chain.text_files import NotReadError
from commonpool.chain.uwsgi_files import read_uwsgi
from tests.helpers import wait_until

ROOT = Path(__file__).resolve().parents[2]
LayOut = Callable[[Mapping[str, str]], Path]
INI = "[uwsgi]\nchdir = %d\nmodule = app:application\n"


def load(lay_out: LayOut, code: str, ini: str = INI, **environ: str) -> Application:
    lay_out({"uwsgi.ini": ini, "app.py": code})
    outside = {name: Setting(value, "environment") for name, value in environ.items()}
    return load_application(read_uwsgi("uwsgi.ini", outside)[0], seconds=60)


def refused(lay_out: LayOut, code: str, *, seconds: float = 60) -> str:
    lay_out({"uwsgi.ini": INI, "app.py": code})
    with pytest.raises(NotReadError) as caught:
        load_application(read_uwsgi("uwsgi.ini", {})[0], seconds=seconds)
    found = caught.value.unreadable
    assert (found.what, found.file, found.line) == ("application", "uwsgi.ini", 3)
    assert "\n" not in found.message
    return found.message


def test_an_engine_is_found_with_what_it_really_has(lay_out: LayOut) -> None:
    found = load(
        lay_out,
        "import os\nfrom sqlalchemy import create_engine\n"
        "def settings():\n    return {'pool_size': int(os.environ['SIZE']), 'pool_recycle': 99}\n"
        "mine = create_engine('mysql+pymysql://u:p@nowhere/x', pool_pre_ping=True, **settings())\n",
        ini=INI + "env = SIZE=4\n",
    )

    assert [one.name for one in found.engines] == ["mine"]
    assert {name: one.value for name, one in found.engines[0].values.items()} == {
        "dialect": "mysql",
        "driver": "pymysql",
        "poolclass": "QueuePool",
        "pool_size": 4,
        "max_overflow": 10,
        "pool_timeout": 30.0,
        "pool_recycle": 99,
        "pool_pre_ping": True,
        "connections": 0,
    }
    assert (found.debug, found.pool_made_at_import, found.loop) == (None, None, None)


def test_connections_that_are_open_are_counted(lay_out: LayOut) -> None:
    found = load(
        lay_out,
        "from sqlalchemy import create_engine\n"
        "engine = create_engine('sqlite:///x.db')\nengine.connect().close()\n",
    )

    assert found.engines[0].values["connections"].value == 1


def test_flask_sqlalchemys_engines_debug_mode_and_the_pool_are_found(lay_out: LayOut) -> None:
    found = load(
        lay_out,
        "from commonpool import run_in_parallel\n"
        "from flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\n"
        "application = Flask(__name__)\napplication.debug = True\n"
        "application.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite:///x.db'\n"
        "application.config['SQLALCHEMY_BINDS'] = {'other': 'mysql+pymysql://nowhere/x'}\n"
        "db = SQLAlchemy(application)\nrun_in_parallel([lambda: 1, lambda: 2])\n",
    )

    assert sorted(one.name for one in found.engines) == ["db", "db (other)"]
    assert found.debug == Setting(value=True, file="application")
    assert found.pool_made_at_import == Setting(value=True, file="application")


def test_a_file_is_loaded_too(lay_out: LayOut) -> None:
    found = load(
        lay_out,
        "from sqlalchemy import create_engine\nengine = create_engine('sqlite://')\n",
        ini="[uwsgi]\nwsgi-file = app.py\n",
    )

    assert [one.name for one in found.engines] == ["engine"]


def test_what_it_prints_is_kept_away(lay_out: LayOut, capfd: pytest.CaptureFixture[str]) -> None:
    load(lay_out, "import sys, os\nprint('loud')\nos.write(2, b'louder')\n")

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('a\\nb')\n", "ValueError: a b"),
        ("import missing_module\n", "No module named 'missing_module'"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("import os\nos._exit(7)\n", "its process ended with 7"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "its process ended with -9"),
        ("def f(:\n", "SyntaxError"),
        ("raise RuntimeError('mysql://u:s3cret@host/x')\n", "mysql://u:***@host/x"),
    ],
)
def test_one_that_cannot_be_imported_is_one_line(lay_out: LayOut, code: str, words: str) -> None:
    message = refused(lay_out, code)

    assert "app:application cannot be imported" in message
    assert words in message
    assert "s3cret" not in message


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(lay_out: LayOut) -> None:
    folder = lay_out({})
    begin = time.monotonic()

    message = refused(
        lay_out,
        "import subprocess, time, pathlib\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\ntime.sleep(600)\n",
        seconds=3,
    )

    assert "more than 3 s" in message
    assert time.monotonic() - begin < 30
    pid = int((folder / "pid").read_text())
    wait_until(lambda: not is_running(pid), limit=10)


def test_threads_that_do_not_end_hold_up_nothing(lay_out: LayOut) -> None:
    begin = time.monotonic()

    load(
        lay_out,
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n",
    )

    assert time.monotonic() - begin < 30


def test_the_chain_has_figures_of_loading_and_places_of_the_code(lay_out: LayOut) -> None:
    lay_out(
        {
            "uwsgi.ini": INI,
            "app.py": "from sqlalchemy import create_engine\n"
            "engine = create_engine('mysql+pymysql://nowhere/x', pool_size=int('8'),\n"
            "    connect_args={'init_command': 'SET max_statement_time=20'})\n",
        }
    )
    chain = read_chain(uwsgi="uwsgi.ini", load=True)

    assert chain.unreadable == ()
    assert chain.application is not None
    found = chain.application.engines[0]
    assert found.values["pool_size"] == Setting(8, "application")
    assert found.values["statement_seconds"].value == 20
    assert found.made_at_import is not None
    assert (found.made_at_import.file, found.made_at_import.line) == ("app.py", 2)


def test_one_that_cannot_be_loaded_is_read_nevertheless(lay_out: LayOut) -> None:
    lay_out(
        {
            "uwsgi.ini": INI,
            "app.py": "from sqlalchemy import create_engine\n"
            "engine = create_engine('sqlite://', pool_size=8)\nraise ValueError\n",
        }
    )
    chain = read_chain(uwsgi="uwsgi.ini", load=True)

    assert [one.what for one in chain.unreadable] == ["application"]
    assert chain.application is not None
    assert chain.application.engines[0].values["pool_size"].value == 8


def test_the_stack_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    chain = read_chain(
        uwsgi="uwsgi.ini",
        load=True,
        environ={**os.environ, "DATABASE_URL": "mysql+pymysql://flights@nowhere/flights"},
    )

    assert chain.unreadable == ()
    assert chain.application is not None
    found = {one.name: one for one in chain.application.engines}["db"]
    assert found.values["pool_size"].value == 24
    assert found.values["max_overflow"].value == 8
    assert found.values["connections"].value == 0
    assert "statement_seconds" in found.values


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
