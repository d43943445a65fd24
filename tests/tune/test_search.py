"""Which settings go on: real servers, of which the truth is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonpool.chain.measured import Run, Sizes
from commonpool.tune import edits
from commonpool.tune.configuration import find_program
from commonpool.tune.errors import ServerError
from commonpool.tune.generator import Generator
from commonpool.tune.goal import Goal
from commonpool.tune.measuring import Alone, Measuring
from commonpool.tune.recording import Recording
from commonpool.tune.search import Effort, Search
from commonpool.tune.serving import Place
from tests.tune.helpers import an_ini, environ

# ruff: noqa: SLF001 - one step of the search at a time
ALONE = Alone([0.1] * 20, 0.001, 0.0)


@pytest.fixture
def measuring(tmp_path: Path) -> Iterator[Measuring]:
    """On an application whose requests sleep for 0.1 s."""
    ini = an_ini(tmp_path)
    outside = environ(tmp_path)
    names = edits.placeholders(edits.read(ini, outside))
    place = Place(find_program(), ini, outside, None, names, tmp_path / "log")
    with (
        Recording(tmp_path, url="/", ini=str(ini), cores=2) as recording,
        Generator("localhost") as generator,
    ):
        yield Measuring(place, "/?s=0.1", generator, recording, lambda _: None)


def search(measuring: Measuring, goal: Goal, settings: list[Sizes], **effort: float) -> Search:
    whole = Effort(**{"seconds": 0.4, "rounds": 1, **effort})
    return Search(
        measuring, goal, settings, settings[0], ALONE, 2, whole, lambda _what, _count: None
    )


def test_the_smallest_that_does_is_among_the_finalists_and_little_is_spent_on_others(
    measuring: Measuring,
) -> None:
    settings = [Sizes(1, threads, 1) for threads in (1, 6, 7, 8, 9)]
    found = search(measuring, Goal(0.5, 30), settings)
    found._halve()
    assert Sizes(1, 6, 1) in found.finalists
    assert len(found.finalists) <= 3
    assert max(len(one.runs) for one in found.found.values()) <= 3


def test_what_threads_cannot_do_by_arithmetic_is_not_measured(measuring: Measuring) -> None:
    found = search(measuring, Goal(0.5, 30), [Sizes(1, 1, 1), Sizes(1, 2, 1), Sizes(1, 3, 1)])
    found._leave_out_the_impossible()
    reasons = [one.reason for one in found.found.values()]
    assert reasons == [
        "1 request thread serves 12 requests/s at most",
        "2 request threads serve 25 requests/s at most",
        "",
    ]
    assert not measuring.runs


def test_a_load_that_nothing_can_serve_is_tried_on_the_largest(measuring: Measuring) -> None:
    settings = [Sizes(1, threads, 1) for threads in (1, 2, 3, 4)]
    found = search(measuring, Goal(0.5, 1000), settings)
    found._leave_out_the_impossible()
    assert [bool(one.reason) for one in found.found.values()] == [True, False, False, False]


def test_when_the_time_is_over_what_there_is_is_decided_upon(measuring: Measuring) -> None:
    settings = [Sizes(1, threads, 1) for threads in (4, 5, 6, 7, 8, 9)]
    now = time.monotonic()
    found = search(
        measuring, Goal(0.5, 35), settings, search_until=now, finals_until=now, until=now
    )
    found.run()
    assert found.cut_short
    assert {run.sizes for run in measuring.runs} <= set(found.finalists)
    assert all(isinstance(run, Run) for run in measuring.runs)
    assert measuring.runs  # a first round is made whatever the time


def test_who_is_beaten_by_far_has_no_second_round(measuring: Measuring) -> None:
    slow, quick = Sizes(1, 1, 1), Sizes(1, 8, 1)
    found = search(measuring, Goal(0.5), [slow, quick], rounds=2, seconds=0.2)
    found.found[slow].served, found.found[quick].served = 5, 40
    found._rounds([slow, quick])
    assert len(found.found[slow].rates) == 1
    assert len(found.found[quick].rates) == 2


def test_where_no_setting_comes_up_that_is_the_error(measuring: Measuring, tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nwsgi-file = missing.py\n")
    found = search(measuring, Goal(0.5, 10), [Sizes(1, 2, 1), Sizes(1, 4, 1)])
    with pytest.raises(ServerError, match=r"does not start with 1 x [24], 1 worker\b"):
        found.run()
