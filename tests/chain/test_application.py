"""What an application's code says, read without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from commonpool.chain.application import read_application
from commonpool.chain.model import Application, Engine, Setting, Unreadable
from commonpool.chain.uwsgi_files import read_uwsgi

ROOT = Path(__file__).resolve().parents[2]
LayOut = Callable[[Mapping[str, str]], Path]

INI = "[uwsgi]\nchdir = %d\nmodule = app:application\n"
CREATE = "from sqlalchemy import create_engine\n"
RUNS = "raise SystemExit('it was run')\n"  # at the end of a module: whoever runs it notices


def look(
    files: Mapping[str, str], lay_out: LayOut, environ: Mapping[str, str] | None = None
) -> tuple[Application, list[Unreadable]]:
    lay_out({"uwsgi.ini": INI, **files})
    outside = {name: Setting(value, "environment") for name, value in (environ or {}).items()}
    uwsgi, problems = read_uwsgi("uwsgi.ini", outside)
    assert problems == []
    return read_application(uwsgi)


def read(
    lay_out: LayOut, files: Mapping[str, str] | str, environ: Mapping[str, str] | None = None
) -> Application:
    if isinstance(files, str):
        files = {"app.py": files}
    application, problems = look(files, lay_out, environ)
    assert problems == []
    return application


def engine(
    lay_out: LayOut, files: Mapping[str, str] | str, environ: Mapping[str, str] | None = None
) -> Engine:
    found = read(lay_out, files, environ).engines
    assert len(found) == 1, found
    return found[0]


def values(one: Engine) -> dict[str, object]:
    return {name: setting.value for name, setting in one.values.items()}


DEFAULTS = {
    "pool_size": 5,
    "max_overflow": 10,
    "pool_timeout": 30.0,
    "pool_recycle": -1,
    "pool_pre_ping": False,
    "poolclass": "QueuePool",
}

# Engines


def test_an_engine_has_what_it_is_given_and_sqlalchemys_defaults(lay_out: LayOut) -> None:
    found = engine(
        lay_out,
        "from sqlalchemy import create_engine\n"
        "engine = create_engine(\n"
        "    'mysql+pymysql://u:p@db/x', pool_size=20,\n"
        "    pool_pre_ping=True)\n" + RUNS,
    )

    assert found.name == "engine"
    assert values(found) == {
        **DEFAULTS,
        "pool_size": 20,
        "pool_pre_ping": True,
        "dialect": "mysql",
        "driver": "pymysql",
    }
    assert found.values["pool_size"] == Setting(20, "app.py", 3)
    assert found.values["pool_pre_ping"].line == 4
    assert found.values["max_overflow"].file == "default"
    assert found.made_at_import is not None
    assert (found.made_at_import.file, found.made_at_import.line) == ("app.py", 2)


@pytest.mark.parametrize(
    "lines",
    [
        "import sqlalchemy\nengine = sqlalchemy.create_engine(URL, pool_size=7)",
        "import sqlalchemy as sa\nengine = sa.create_engine(URL, pool_size=7)",
        "from sqlalchemy import create_engine as make\nengine = make(URL, pool_size=7)",
        "{create}engine = create_engine(URL, pool_size=SIZE)",
        "{create}engine = create_engine(URL, **{'pool_size': 7})",
        "{create}engine = create_engine(URL, **OPTIONS)",
        "{create}engine = create_engine(url=URL, pool_size=3 + 4)",
        "import os\n{create}engine = create_engine(URL, pool_size=int(os.environ.get('SIZE', 9)))",
        "import os\n{create}engine = create_engine(URL, pool_size=int(os.environ['SIZE']))",
        "from os import environ as e\n{create}x = create_engine(URL, pool_size=int(e['SIZE']))",
        "import os\n{create}engine = create_engine(URL, pool_size=int(os.getenv('NONE') or '7'))",
        "from os import getenv\n{create}x = create_engine(URL, pool_size=int(getenv('NO', 7)))",
        "import sizes\n{create}engine = create_engine(URL, pool_size=sizes.SIZE)",
        "from sizes import HANDED_ON as s\n{create}engine = create_engine(URL, pool_size=s)",
        "{create}def f():\n    n = 7\n    return create_engine(URL, pool_size=n)\nengine = f()",
    ],
)
def test_a_value_is_found_however_it_is_written(lay_out: LayOut, lines: str) -> None:
    constants = "URL = 'postgresql+psycopg://db/x'\nSIZE = 7\nOPTIONS = dict(pool_size=7)\n"
    found = engine(
        lay_out,
        {
            "app.py": constants + lines.replace("{create}", CREATE) + "\n" + RUNS,
            "sizes.py": "from more import HANDED_ON\nSIZE = 7\n",
            "more.py": "HANDED_ON: int = 7\n",
        },
        {"SIZE": "7"},
    )

    assert found.values["pool_size"].value == 7
    assert found.values["driver"].value == "psycopg"
    assert found.values["max_overflow"].value == 10


def test_what_uwsgi_sets_with_env_counts(lay_out: LayOut) -> None:
    files = {
        "uwsgi.ini": INI + "env = SIZE=9\n",
        "app.py": "import os\nfrom sqlalchemy import create_engine\n"
        "engine = create_engine('sqlite://', pool_size=int(os.environ['SIZE']))\n",
    }

    assert engine(lay_out, files).values["pool_size"].value == 9


def test_what_cannot_be_told_is_left_out(lay_out: LayOut) -> None:
    found = engine(
        lay_out,
        CREATE + "import c\nengine = create_engine(c.url(), pool_size=c.size(), **c.more)\n",
    )

    # Neither the value that is given, nor a default of what may be given.
    assert values(found) == {"statement_seconds": None}


def test_a_pool_of_another_class_has_no_size(lay_out: LayOut) -> None:
    found = engine(
        lay_out,
        "from sqlalchemy import create_engine\nfrom sqlalchemy.pool import NullPool\n"
        "engine = create_engine('mysql://db/x', poolclass=NullPool)\n",
    )

    assert values(found) == {
        "poolclass": "NullPool",
        "pool_recycle": -1,
        "dialect": "mysql",
        "driver": "mysqldb",
    }


@pytest.mark.parametrize(
    ("keyword", "seconds"),
    [
        ("connect_args={'init_command': 'SET SESSION max_statement_time=20'}", 20),
        ("connect_args={'init_command': 'SET SESSION max_execution_time = 20000'}", 20),
        ("connect_args={'options': '-c statement_timeout=20000'}", 20),
        ("connect_args=dict(options='-c statement_timeout=20s')", 20),
        ("connect_args={'init_command': f'SET max_statement_time={LIMIT}'}", 20),
        ("connect_args={'init_command': f'SET max_statement_time={unknown()}'}", None),
    ],
)
def test_the_limit_of_statements_is_found(
    lay_out: LayOut, keyword: str, seconds: float | None
) -> None:
    found = engine(
        lay_out,
        "from sqlalchemy import create_engine\nLIMIT = 20\n"
        f"engine = create_engine('mysql://db/x', {keyword})\n",
    )

    assert found.values["statement_seconds"].value == seconds


def test_a_limit_in_the_url_or_in_a_listener_is_found_too(lay_out: LayOut) -> None:
    url = "postgresql://db/x?options=-c%20statement_timeout%3D5000"
    first = engine(
        lay_out, f"from sqlalchemy import create_engine\nengine = create_engine('{url}')\n"
    )
    assert first.values["statement_seconds"].value == 5

    second = engine(
        lay_out,
        "from sqlalchemy import create_engine, event\nengine = create_engine('mysql://db/x')\n"
        "@event.listens_for(engine, 'connect')\ndef limit(connection, record):\n"
        "    connection.cursor().execute('SET SESSION max_statement_time = 28')\n",
    )
    assert second.values["statement_seconds"] == Setting(
        28.0, "app.py", 5, "SET SESSION max_statement_time = 28"
    )


# Flask-SQLAlchemy


@pytest.mark.parametrize(
    "setting",
    [
        "app.config['SQLALCHEMY_ENGINE_OPTIONS'] = {'pool_size': 7}",
        "app.config.update(SQLALCHEMY_ENGINE_OPTIONS={'pool_size': 7})",
        "app.config.from_mapping({'SQLALCHEMY_ENGINE_OPTIONS': {'pool_size': 7}})",
        "app.config.from_object('config')",
        "app.config.from_object('config.Production')",
    ],
)
def test_flask_sqlalchemys_options_are_found(lay_out: LayOut, setting: str) -> None:
    config = "SQLALCHEMY_ENGINE_OPTIONS = {'pool_size': 7}\n"
    as_class = "class Production:\n    SQLALCHEMY_ENGINE_OPTIONS = {'pool_size': 7}\n"
    files = {
        "app.py": "from flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\n"
        "import config\n"
        "app = application = Flask(__name__)\n"
        "app.config['SQLALCHEMY_DATABASE_URI'] = 'mysql://db/x'\n"
        f"{setting}\ndb = SQLAlchemy(app)\n" + RUNS,
        "config.py": as_class if "Production" in setting else config if "object" in setting else "",
    }
    found = engine(lay_out, files)

    assert found.name == "db"
    assert found.values["pool_size"].value == 7
    # Flask-SQLAlchemy's own default for MySQL.
    assert found.values["pool_recycle"] == Setting(7200, "default")
    assert found.made_at_import is not None


OPTIONS = "    SQLALCHEMY_ENGINE_OPTIONS = "


@pytest.mark.parametrize(
    "setting",
    [
        "app.config.from_object(os.environ['CONFIG'])",
        "app.config.from_object('settings_%s' % os.environ['STAGE'])",
        "app.config.from_object('settings.that.are.elsewhere')",
        "app.config.from_pyfile('settings.cfg')",
        "app.config.from_envvar('SETTINGS')",
    ],
)
def test_settings_that_are_not_read_may_say_anything(lay_out: LayOut, setting: str) -> None:
    found = engine(
        lay_out,
        "import os\nfrom flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\n"
        f"app = application = Flask(__name__)\n{setting}\ndb = SQLAlchemy(app)\n" + RUNS,
    )

    assert values(found) == {"statement_seconds": None}


def test_settings_that_are_named_are_read_though_nobody_imports_them(lay_out: LayOut) -> None:
    files = {
        "app.py": "from flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\n"
        "app = application = Flask(__name__)\n"
        "app.config.from_object('settings.Production')\ndb = SQLAlchemy(app)\n" + RUNS,
        "settings.py": f"class Production:\n{OPTIONS}{{'pool_size': 7}}\n" + RUNS,
    }
    found = engine(lay_out, files)

    assert values(found) == {**DEFAULTS, "pool_size": 7}


def test_of_settings_for_several_stages_counts_what_all_say(lay_out: LayOut) -> None:
    files = {
        "app.py": "import os\nimport settings\nfrom flask import Flask\n"
        "from flask_sqlalchemy import SQLAlchemy\n"
        "app = application = Flask(__name__)\n"
        "app.config.from_object(settings.STAGES[os.environ['STAGE']])\ndb = SQLAlchemy(app)\n",
        "settings.py": "from sqlalchemy.pool import StaticPool\n"
        f"class Production:\n{OPTIONS}{{'pool_size': 7, 'pool_pre_ping': True}}\n"
        f"class Staging:\n{OPTIONS}{{'pool_size': 3, 'pool_pre_ping': True}}\n"
        f"class Empty:\n{OPTIONS}{{}}\n"
        "STAGES = {'production': Production, 'staging': Staging}\n",
    }
    found = engine(lay_out, files)

    assert values(found) == {"pool_pre_ping": True, "statement_seconds": None}


def test_an_application_factory_makes_the_engine_where_it_is_called(lay_out: LayOut) -> None:
    files = {
        "app.py": "from site_ import create_app\napplication = create_app()\n" + RUNS,
        "site_/__init__.py": "from flask import Flask\nfrom .models import db\n"
        "def create_app():\n    app = Flask(__name__)\n"
        "    app.config['SQLALCHEMY_DATABASE_URI'] = 'postgresql://db/x'\n"
        "    db.init_app(app)\n    return app\n",
        "site_/models.py": "from flask_sqlalchemy import SQLAlchemy\n"
        "db = SQLAlchemy(engine_options={'pool_size': 3, 'max_overflow': 0})\n",
    }
    found = engine(lay_out, files)

    assert (found.values["pool_size"].value, found.values["max_overflow"].value) == (3, 0)
    assert found.made_at_import is not None
    assert (found.made_at_import.file, found.made_at_import.line) == ("site_/__init__.py", 6)


# When


@pytest.mark.parametrize(
    ("lines", "is_made"),
    [
        ("engine = create_engine('sqlite://')", True),
        ("def make():\n    return create_engine('sqlite://')\nengine = make()", True),
        ("def make():\n    return create_engine('sqlite://')", False),
        ("class Site:\n    def __init__(self):\n        create_engine('sqlite://')\nSite()", True),
        ("class Site:\n    engine = create_engine('sqlite://')", True),
        ("if __name__ == '__main__':\n    create_engine('sqlite://')", False),
        ("try:\n    create_engine('sqlite://')\nexcept Exception:\n    pass", True),
        ("with open('x') as f:\n    create_engine('sqlite://')", True),
        ("from lazy import make", False),
        ("import lazy\nlazy.make()", True),
        ("from lazy import inner", False),
        ("from lazy import outer\nouter()", True),
    ],
)
def test_whether_an_engine_is_made_at_import(lay_out: LayOut, lines: str, *, is_made: bool) -> None:
    found = engine(
        lay_out,
        {
            "app.py": f"from sqlalchemy import create_engine\n{lines}\n"
            if "create_engine" in lines
            else f"{lines}\n",
            "lazy.py": ""
            if "create_engine" in lines
            else "from sqlalchemy import create_engine\ndef make():\n"
            "    return create_engine('sqlite://')\n"
            "def inner():\n    def deep():\n        make()\n    return deep\n"
            "def outer():\n    inner()()\n    again()\ndef again():\n    make()\n    outer()\n",
        },
    )

    assert (found.made_at_import is not None) is is_made


@pytest.mark.parametrize(
    ("lines", "is_made"),
    [
        ("from commonpool import CommonPool\npool = CommonPool(4)", True),
        ("from commonpool import run_in_parallel\nrun_in_parallel([])", True),
        ("import commonpool\ncommonpool.current_executor().submit(print)", True),
        ("from commonpool import CommonPoolMiddleware\napp = CommonPoolMiddleware(None)", False),
        ("from commonpool import run_in_parallel\ndef view():\n    run_in_parallel([])", False),
        ("from commonpool import current_executor\nexecutor = current_executor()", False),
    ],
)
def test_whether_a_pool_is_made_at_import(lay_out: LayOut, lines: str, *, is_made: bool) -> None:
    assert (read(lay_out, lines + "\n").pool_made_at_import is not None) is is_made


# What else


@pytest.mark.parametrize(
    ("lines", "is_on"),
    [
        ("app.run(debug=True)", True),
        ("if __name__ == '__main__':\n    app.run(debug=True)", False),
        ("app.debug = True", True),
        ("app.debug = False", False),
        ("site = Flask(__name__)\nsite.debug = True", True),
        ("class Bar:\n    def __init__(self):\n        self.debug = True\nBar()", False),
        ("app.config['DEBUG'] = True", True),
        ("app.config.update(DEBUG=True)", True),
        ("app.config.from_object('config.Development')", True),
        ("app.config.from_object('config.Production')", False),
        ("app.config.from_object(config.Development)", True),
        ("from werkzeug.debug import DebuggedApplication\napp = DebuggedApplication(app)", True),
        ("import os\napp.debug = bool(os.environ.get('NOTHING'))", False),
    ],
)
def test_whether_debug_mode_is_switched_on(lay_out: LayOut, lines: str, *, is_on: bool) -> None:
    found = read(
        lay_out,
        {
            "app.py": f"from flask import Flask\nimport config\napp = Flask(__name__)\n{lines}\n",
            "config.py": "class Production:\n    pass\nclass Development:\n    DEBUG = True\n",
        },
    )

    assert (found.debug is not None) is is_on


def test_the_variable_switches_it_on_too(lay_out: LayOut) -> None:
    found = read(lay_out, "x = 1\n", {"FLASK_DEBUG": "1"}).debug

    assert found == Setting(value=True, file="environment", written="FLASK_DEBUG")
    assert read(lay_out, "x = 1\n", {"FLASK_DEBUG": "0"}).debug is None


@pytest.mark.parametrize(
    ("option", "loop"), [("gevent = 100", "gevent"), ("asyncio = 10", "asyncio"), ("", None)]
)
def test_the_loop_that_uwsgi_runs(lay_out: LayOut, option: str, loop: str | None) -> None:
    found = read(lay_out, {"uwsgi.ini": INI + option + "\n", "app.py": "x = 1\n"}).loop

    assert (None if found is None else found.value) == loop


def test_a_patched_library_and_reloaders_are_found(lay_out: LayOut) -> None:
    found = read(
        lay_out,
        {
            "uwsgi.ini": INI + "py-autoreload = 2\n",
            "app.py": "from gevent import monkey\nmonkey.patch_all()\n",
        },
    )

    assert found.loop is not None
    assert (found.loop.value, found.loop.line) == ("gevent", 2)
    assert found.reloader is not None
    assert (found.reloader.file, found.reloader.line) == ("uwsgi.ini", 4)


def test_what_the_code_gives_the_pool(lay_out: LayOut) -> None:
    found = read(
        lay_out,
        "from commonpool import CommonPoolMiddleware, PoolConfig\n"
        "app = CommonPoolMiddleware(None, PoolConfig(max_workers=9))\n",
    )
    assert found.pool["max_workers"].value == 9
    assert found.pool["max_workers"].line == 2

    flask = read(lay_out, "app = make()\napp.config['COMMONPOOL_MAX_QUEUE'] = 50\n")
    assert flask.pool == {"max_queue": Setting(50, "app.py", 2)}


# Where the code is


@pytest.mark.parametrize(
    ("ini", "file"),
    [
        ("module = app:application", "app.py"),
        ("wsgi = app", "app.py"),
        ("wsgi-file = app.py", "app.py"),
        ("file = deep/app.py", "deep/app.py"),
        ("pythonpath = deep\nmodule = app", "deep/app.py"),
        ("chdir = deep\nmodule = app", "deep/app.py"),
        ("mount = /x=app:application", "app.py"),
        ("mount = /x=deep/app.py", "deep/app.py"),
        ("module = deep.app", "deep/app.py"),
        ("chdir = /nonexistent/app\nmodule = app", "app.py"),
    ],
)
def test_the_code_is_found_where_uwsgi_finds_it(lay_out: LayOut, ini: str, file: str) -> None:
    code = "from sqlalchemy import create_engine\nengine = create_engine('sqlite://')\n"
    found = engine(lay_out, {"uwsgi.ini": f"[uwsgi]\n{ini}\n", file: code})

    assert found.made_at_import is not None
    assert found.made_at_import.file == file


def test_an_application_that_is_not_there_is_one_line(lay_out: LayOut) -> None:
    _, problems = look({}, lay_out)

    assert [(one.file, one.line) for one in problems] == [("uwsgi.ini", 3)]
    assert "app:application is not found in" in problems[0].message


@pytest.mark.parametrize(
    "code",
    [
        "def f(:\n",
        "x = 1\n\0",
        "(" * 1000,
        "x = '" + "\\x" * 3 + "'\n",
    ],
)
def test_code_that_is_no_python_is_one_line(lay_out: LayOut, code: str) -> None:
    _, problems = look({"app.py": code}, lay_out)

    assert [(one.what, one.file) for one in problems] == [
        ("application", str(Path("app.py").resolve()))
    ]
    assert "\n" not in problems[0].message


@pytest.mark.parametrize(
    "code",
    [
        "x = x\ny = z\nz = y\nimport sqlalchemy as s\ns.create_engine(x, pool_size=y)\n",
        "def f():\n    g()\ndef g():\n    f()\nf()\n",
        "from app import thing\nthing()\n",
        "import sqlalchemy\nsqlalchemy.create_engine('a' * 10**9, pool_size=9**9**9)\n",
        "import sqlalchemy\nsqlalchemy.create_engine(*[1], **{**a, **b()})\n",
        "x = " + " + ".join(["1"] * 900) + "\n",
    ],
)
def test_strange_code_is_looked_at_and_left_alone(lay_out: LayOut, code: str) -> None:
    read(lay_out, code)


def test_code_that_is_nested_deeply_is_read_or_said_to_be(lay_out: LayOut) -> None:
    chain = "".join(f"def f{number}():\n    f{number + 1}()\n" for number in range(2000))
    for code in (
        "def f():\n    f" + "()" * 800 + "\nf()\n",
        chain + "f0()\n",
        "x = " + "-" * 900 + "1",
    ):
        _, problems = look({"app.py": code}, lay_out)

        assert all("nested" in one.message or "recursion" in one.message for one in problems)


def test_modules_that_import_each_other_come_to_an_end(lay_out: LayOut) -> None:
    read(lay_out, {"app.py": "import a\n", "a.py": "import b\n", "b.py": "import a, app\n"})


def test_the_stacks_own_code_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    uwsgi, _ = read_uwsgi("uwsgi.ini", {})
    application, problems = read_application(uwsgi)

    assert problems == []
    assert application.module == "stack.wsgi:application"
    found = {one.name: one for one in application.engines}["db"]
    assert found.values["pool_timeout"].value == 10
    assert found.values["pool_recycle"].value == 280
    assert found.values["pool_pre_ping"].value is True
    assert "statement_seconds" in found.values
    # STACK_POOL_SIZE is looked at by code that is not run: for that there is --load.
    assert "pool_size" not in found.values
    assert application.debug is None
    assert application.pool_made_at_import is None


@pytest.mark.parametrize(
    ("condition", "is_on"),
    [
        ("os.environ.get('STAGE') == 'development'", False),
        ("os.environ.get('STAGE', 'development') == 'development'", True),
        ("os.environ.get('STAGE') in ('production', None)", True),
        ("os.environ.get('HOME_OFFICE')", False),
        ("'HOME_OFFICE' not in os.environ", False),  # that is not told
        ("app.config['IS_MY_LAPTOP']", False),
        ("not app.testing", False),
    ],
)
def test_debug_under_a_condition_is_on_where_that_is_met(
    lay_out: LayOut, condition: str, *, is_on: bool
) -> None:
    code = "import os\nfrom flask import Flask\napp = application = Flask(__name__)\n"
    found = read(lay_out, f"{code}if {condition}:\n    app.debug = True\n" + RUNS)

    assert (found.debug is not None) == is_on


def test_an_engine_under_a_condition_may_be_made_at_import(lay_out: LayOut) -> None:
    code = "import sys\n" + CREATE
    found = engine(lay_out, f"{code}if len(sys.argv) > 1:\n    e = create_engine('mysql://h')\n")

    assert found.made_at_import is not None
