"""Where the values of uWSGI's options stand, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from commonpool.chain.model import Setting, Uwsgi
from commonpool.chain.uwsgi_files import read_uwsgi

ON = True
LayOut = Callable[[Mapping[str, str]], Path]


def read(given: str, environ: Mapping[str, str] | None = None) -> Uwsgi:
    outside = {name: Setting(value, "environment") for name, value in (environ or {}).items()}
    uwsgi, problems = read_uwsgi(given, outside, version=(2, 0, 31))
    assert problems == []
    return uwsgi


def test_each_value_has_its_file_and_line_and_what_is_written_there(lay_out: LayOut) -> None:
    lay_out(
        {
            "a.ini": "[uwsgi]\n\nset-ph = n=4\nprocesses = %(n)\nini = more/b.ini\n",
            "more/b.ini": "; one\n[uwsgi]\nharakiri = 30\n",
        }
    )
    uwsgi = read("a.ini")

    assert uwsgi.get("processes") == Setting(4, "a.ini", 4, "%(n)")
    assert uwsgi.get("harakiri") == Setting(30, "more/b.ini", 3)


def test_lines_count_in_a_file_with_carriage_returns_and_joined_lines(lay_out: LayOut) -> None:
    folder = lay_out({})
    (folder / "a.ini").write_bytes(b"[uwsgi]\r\nmaster = true\r\nx = 5%\nthreads = 2\nlisten = 7\n")

    # A percent sign at the end of a line takes the next one in.
    uwsgi = read("a.ini")

    assert uwsgi.get("threads") is None
    assert uwsgi.get("listen") == Setting(7, "a.ini", 5)


def test_lines_of_json_are_those_of_its_values(lay_out: LayOut) -> None:
    lay_out(
        {
            "a.json": '{\n "other": {"harakiri": 1},\n "uwsgi": {\n  "harakiri":\n   30,\n'
            '  "env": [\n   "A=1",\n   "B=2"\n  ],\n  "x": {"harakiri": 2}, "master": true\n }\n}\n'
        }
    )
    uwsgi = read("a.json")

    assert uwsgi.get("harakiri") == Setting(30, "a.json", 5)
    assert [setting.line for setting in uwsgi.options["env"]] == [7, 8]
    assert uwsgi.get("master") == Setting(ON, "a.json", 10, "1")
    assert uwsgi.environ["B"] == Setting("2", "a.json", 8)


def test_lines_of_yaml_are_those_of_its_entries(lay_out: LayOut) -> None:
    lay_out({"a.yaml": "# one\nuwsgi:\n  master: true\n\n  harakiri: 30 # two\n"})

    assert read("a.yaml").get("harakiri") == Setting(30, "a.yaml", 5)


def test_a_value_set_by_a_condition_shows_what_stands_in_the_file(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nif-env = N\nprocesses = %(_)\nendif =\n"})

    assert read("a.ini", {"N": "3"}).get("processes") == Setting(3, "a.ini", 3, "%(_)")


def test_options_have_one_name_each(lay_out: LayOut) -> None:
    lay_out(
        {
            "a.ini": "[uwsgi]\nprocesses = 2\nworkers = 3\nwsgi = a:b\nfile = c.py\nvenv = /v\n"
            "pp = /p\nstats-server = /s\n"
        }
    )
    uwsgi = read("a.ini")

    assert [setting.value for setting in uwsgi.options["processes"]] == [2, 3]
    assert uwsgi.number("processes") == 3
    names = ["module", "wsgi-file", "home", "pythonpath", "stats"]
    assert [str(uwsgi.options[name][-1].value) for name in names] == [
        "a:b",
        "c.py",
        "/v",
        "/p",
        "/s",
    ]


def test_flags_are_on_unless_they_are_off_in_one_of_uwsgis_words(lay_out: LayOut) -> None:
    lay_out(
        {
            "a.ini": "[uwsgi]\nvacuum\nneed-app =\nlazy-apps = TRUE\ndie-on-term = Off\n"
            "single-interpreter = 0\nno-orphans = disabled\n"
        }
    )
    uwsgi = read("a.ini")

    names = ["vacuum", "need-app", "lazy-apps", "die-on-term", "single-interpreter", "no-orphans"]
    assert [uwsgi.is_on(name) for name in names] == [True, True, True, False, False, True]
    assert not uwsgi.is_on("master")


def test_numbers_are_what_uwsgi_makes_of_them(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nharakiri = 30s\nprocesses = many\nlisten = $(N)\n"})
    uwsgi = read("a.ini", {"N": "200"})

    assert uwsgi.get("harakiri") == Setting(30, "a.ini", 2, "30s")
    assert uwsgi.number("processes", 1) == 0
    # It counts as soon as it is read, before variables are filled in.
    assert uwsgi.get("listen") == Setting(0, "a.ini", 4, "$(N)")


def test_what_an_option_turns_on_besides_is_there_too(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nthreads = 4\ncheaper = 1\n"})
    uwsgi = read("a.ini")

    assert uwsgi.get("master") == Setting(ON, "a.ini", 3, "cheaper = 1")
    assert uwsgi.get("enable-threads") == Setting(ON, "a.ini", 2, "threads = 4")


def test_what_is_said_itself_counts_before_what_is_turned_on_besides(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nmaster = false\ncheaper = 1\n"})

    assert not read("a.ini").is_on("master")


def test_names_that_uwsgi_does_not_know_are_told_but_not_placeholders(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nthreds = 4\nbase = /srv\nset-ph = n=1\nchdir = %(base)\n"})
    uwsgi = read("a.ini")

    assert uwsgi.unknown == [Setting("threds", "a.ini", 2)]
    assert "threds" not in uwsgi.options


def test_variables_that_begin_with_uwsgi_are_options(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nprocesses = 2\n"})
    uwsgi = read("a.ini", {"UWSGI_HARAKIRI": "20", "UWSGI_RELOADS": "1"})

    assert uwsgi.get("harakiri") == Setting(20, "environment")
    assert "reloads" not in [setting.value for setting in uwsgi.unknown]


def test_the_application_finds_what_is_set_outside_and_what_env_sets(lay_out: LayOut) -> None:
    lay_out({"a.ini": "[uwsgi]\nset-ph = n=4\nenv = A=%(n)\nenv = B=2\nunenv = C\n"})
    uwsgi = read("a.ini", {"B": "1", "C": "1", "D": "1"})

    assert uwsgi.environ == {
        "A": Setting("4", "a.ini", 3, "%(n)"),
        "B": Setting("2", "a.ini", 4),
        "D": Setting("1", "environment"),
    }


def test_a_file_beside_the_one_that_names_it_is_found_from_elsewhere(lay_out: LayOut) -> None:
    lay_out({"conf/a.ini": "[uwsgi]\nini = b.ini\n", "conf/b.ini": "[uwsgi]\nthreads = 3\n"})

    assert read("conf/a.ini").get("threads") == Setting(3, "conf/b.ini", 2)
