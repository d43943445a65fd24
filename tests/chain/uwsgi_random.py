"""Configurations of uWSGI that nobody would write: the same ones for the same number."""

from __future__ import annotations

import random

_KEYS = [
    *("foo", "bar", "base", "processes", "threads", "master", "buffer-size", "harakiri", "x.y"),
    *("set-ph", "set", "env", "unenv", "if-env", "if-not-env", "if-opt", "if-not-opt", "if-file"),
    *("if-exists", "if-dir", "if-not-file", "endif", "end", "endfor", "for", "for-times"),
    *("for-glob", "ini", "include", "inherit", "else", "yaml", "declare-option", "own"),
    *("if-reload", "if-not-reload", "early-envdir", "unknown key", "procname"),
]
_VALUES = [
    *("", "1", "2", "true", "%(foo)", "%(bar)", "$(CORPUS_N)", "$(NONE)", "@(t.txt)", "%d"),
    *("%n%c", "%%", "%(_)", "x%(_)y", "%(foo + 1)", "%(processes bar)", "CORPUS_N", "CORPUS_N=3"),
    *("NONE", "foo=1", "bar=%(foo)", "own=env=CORPUS_O=$1;foo=$2", "a b c", "b.ini", "t.txt"),
    *("*.txt", "e", "foo", "$(CORPUS_$(X))", "%(%(foo))", "((", "%(foo", "a)b", "$(", "5%"),
    *(";x", "#y", "|"),
]
_FILES = ["b.ini", "b.ini", "c.yml", "%d/b.ini", "b.ini:more", ":more"]


def configuration(number: int) -> dict[str, str]:
    """The files of one; the first is the one that is given."""
    rolls = random.Random(number)
    more = f"[more]\n{_section(rolls, 3)}[uwsgi]\n{_section(rolls, 4)}"
    return {
        "a.ini": f"[uwsgi]\n{_section(rolls, 14)}{more}",
        "b.ini": f"[uwsgi]\n{_plain(rolls, 5)}[more]\n{_plain(rolls, 3)}",
        "c.yml": "uwsgi:\n  foo: %n\n  bar: 2 # x\n  threads: 3\n",
        "t.txt": "7\n",
        "e/CORPUS_E": "e",
    }


def _section(rolls: random.Random, most: int) -> str:
    return "".join(f"{_line(rolls)}\n" for _ in range(rolls.randint(1, most)))


def _line(rolls: random.Random) -> str:
    key, value = rolls.choice(_KEYS), rolls.choice(_VALUES)
    if rolls.random() < 0.3:
        value += rolls.choice(["", " ", "/", "-"]) + rolls.choice(_VALUES)
    if key in ("include", "inherit"):
        value = rolls.choice(_FILES)
    elif key in ("ini", "yaml", "early-envdir"):
        value = {"ini": rolls.choice(["b.ini", ":more"]), "yaml": "c.yml", "early-envdir": "e"}[key]
    elif key in ("set", "set-ph"):
        value = rolls.choice(["foo=", "bar=", "base="]) + value
    elif key == "env":
        value = f"CORPUS_{rolls.choice('QN')}={value}"
    elif key in ("processes", "threads"):
        value = rolls.choice(["2", "%(foo)", "3"])
    blanks = rolls.choice(["", " ", "\t"])
    return f"{blanks}{key}{rolls.choice(['=', ' = ', ' ='])}{value}{rolls.choice(['', ' '])}"


def _plain(rolls: random.Random, most: int) -> str:
    keys = ["foo", "bar", "threads", "processes", "if-env", "endif", "own"]
    values = ["1", "2", "%(foo)", "CORPUS_N", "$(CORPUS_N)", "%n"]
    lines = range(rolls.randint(1, most))
    return "".join(f"{rolls.choice(keys)} = {rolls.choice(values)}\n" for _ in lines)
