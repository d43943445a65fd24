"""The sums of docs/scaling.md, done again from the page's own formulas and values."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction

import pytest

from stack.container.sizes import RESERVE
from stack.data.urls import ROOT

PAGE = (ROOT / "docs" / "scaling.md").read_text()
NUMBER = r"[\d,.]*\d"

Row = list[str]


def table(heading: str, first: str) -> list[Row]:
    """The rows of the table whose first line begins so, below that heading."""
    below = PAGE[PAGE.index(f"\n## {heading}\n") :]
    lines = below[below.index(f"\n{first}") + 1 :].split("\n\n", 1)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def number(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def name_in(text: str) -> str | None:
    """What a row is called in the sums of other rows: the name in backquotes at its end."""
    found = re.search(r"`(\w+)`$", text)
    return found.group(1) if found else None


INPUTS = {name.strip("`"): number(value) for name, value, *_ in table("The sums", "| | value")[1:]}
SENT_AWAY = {
    name: number(value) for name, value in re.findall(r"`([fn])` = ([\d.]+)", PAGE, re.MULTILINE)
}


def evaluate(formula: str, values: dict[str, Fraction]) -> Fraction:
    known = {"ceil": math.ceil, "max": max, "__builtins__": {}}
    return Fraction(eval(formula, known, dict(values)))


def cases() -> list[tuple[str, str, str, dict[str, Fraction]]]:
    """For each number: what it is, the formula, the number as it is written, what is known."""
    found = []
    for first in ("| | sum | R = 100 |", "| | sum | R = 1,000 | R = 10,000 |\n"):
        head, *rows = table("Three examples", first)
        for column, title in enumerate(head[2:], start=2):
            values = INPUTS | SENT_AWAY | {"R": number(title.removeprefix("R = "))}
            for row in rows:
                formula = row[1].strip("`")
                found.append((f"{row[0]}, {title}", formula, row[column], dict(values)))
                name = name_in(row[0])
                if name:
                    values[name] = evaluate(formula, values)
    return found


@pytest.mark.parametrize(
    ("formula", "written", "values"),
    [case[1:] for case in cases()],
    ids=[case[0] for case in cases()],
)
def test_a_number_is_what_its_sum_gives(
    formula: str, written: str, values: dict[str, Fraction]
) -> None:
    assert re.fullmatch(NUMBER, written), written
    decimals = len(written.partition(".")[2])
    assert f"{float(evaluate(formula, values)):,.{decimals}f}" == written
    if not decimals:
        assert evaluate(formula, values).denominator == 1, "written as whole, and is not"


def test_all_rows_of_both_tables_are_done_again() -> None:
    assert len(cases()) == 17 * 3 + 4 * 2


def example(name: str) -> int:
    [value] = re.findall(rf"^{name}=(\d+)m?$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return int(value)


def in_file(path: str, pattern: str) -> int:
    [value] = re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)
    return int(value)


def test_values_with_a_place_are_those_that_are_there() -> None:
    assert INPUTS["threads"] == example("STACK_THREADS")
    assert INPUTS["workers"] == example("COMMONPOOL_MAX_WORKERS")
    assert INPUTS["connections"] == example("STACK_POOL_SIZE") + example("STACK_MAX_OVERFLOW") + 1
    assert INPUTS["processes"] == example("STACK_PROCESSES")
    assert INPUTS["memory"] == example("APP_MEMORY")
    assert INPUTS["others"] == RESERVE
    assert INPUTS["places"] == in_file("nginx/container/serve", r"^requests_of_a_replica=(\d+)$")
    assert INPUTS["idle"] == in_file("nginx/snippets/timeouts.conf", r"^keepalive_timeout (\d+)s;$")
    assert INPUTS["clients"] == in_file("nginx/nginx.conf", r"^  worker_connections (\d+);$")


def test_what_was_measured_is_where_the_page_says() -> None:
    speed = " ".join((ROOT / "docs" / "speed.md").read_text().split())
    for figure in ("0.1 ms of a request's 1.7", "35,000 of Python's instructions", "63,000"):
        assert figure in speed
    assert round(1.7 * 63 / 35) == INPUTS["p"] * 1000
    record = json.loads((ROOT / "docs" / "benchmarks" / "comparison.json").read_text())
    rates = [
        value
        for sample in record["samples"]
        if (sample["row"], sample["peer"]) == ("3", "commonpool")
        and sample["measure"].startswith("requests/s")
        for value in sample["values"]
    ]
    assert f"answered {min(rates):.0f} to {max(rates):.0f} requests a second" in PAGE
    processors = int(record["machine"]["processor"].split()[0])
    assert f"at most {1000 * processors / min(rates):.1f} ms" in PAGE


def test_what_the_text_says_of_the_numbers_follows_from_them() -> None:
    last = {case[0]: case[2] for case in cases()}
    held = number(last["`MARIADB_MAX_CONNECTIONS`, at least, R = 10,000"]) - INPUTS["others"]
    busy = number(last["connections that are busy, R = 10,000"])
    needed = number(last["processes, for the workers: `by_workers`, R = 10,000"])
    assert f"over {int(held):,} connections of one server" in " ".join(PAGE.split())
    assert f"{int(busy):,} / {needed} = {round(busy / needed)} are busy" in PAGE
    small = number(last["`MARIADB_MAX_CONNECTIONS`, at least, R = 100"])
    assert small <= 151  # MariaDB's default
    medium = number(last["`MARIADB_MAX_CONNECTIONS`, at least, R = 1,000"])
    assert medium <= example("MARIADB_MAX_CONNECTIONS")
