"""Which settings are tried, in which order, and what is said of a typing error."""

from __future__ import annotations

import pytest

from commonpool.chain.measured import Sizes
from commonpool.tune import grid
from commonpool.tune.errors import TuneError

PRESENT = Sizes(1, 1, 2)


def test_a_grid_is_all_combinations_and_the_present_setting_the_smallest_first() -> None:
    parsed = grid.parse("threads=8,4 processes = 1, 2 workers=8")
    assert parsed == {"threads": [4, 8], "processes": [1, 2], "workers": [8]}
    assert grid.settings(parsed, PRESENT, connections=False) == [
        Sizes(1, 1, 2),
        Sizes(1, 4, 8),
        Sizes(1, 8, 8),
        Sizes(2, 4, 8),
        Sizes(2, 8, 8),
    ]


def test_the_connection_pool_follows_the_workers_unless_the_grid_names_it() -> None:
    present = Sizes(1, 1, 2, 2)
    assert Sizes(1, 1, 8, 8) in grid.settings({"workers": [8]}, present, connections=True)
    several = grid.settings({"connections": [4, 9]}, present, connections=True)
    assert several == [present, Sizes(1, 1, 2, 4), Sizes(1, 1, 2, 9)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names nothing"),
        ("proceses=1", "'proceses=1': what can be varied is processes, threads"),
        ("processes", "processes='' is no whole number"),
        ("processes=1,,2", "processes='' is no whole number from 1 to 1,000"),
        ("threads=0", "threads='0' is no whole number"),
        ("threads=1.5", "threads='1.5' is no whole number"),
        ("threads=²", "threads='²' is no whole number"),
        ("threads=99999", "threads='99999' is no whole number from 1 to 1,000"),
        ("processes=5 threads=1,1000", "5,000 request threads; at most 4,096 can be tried"),
        ("threads=1 threads=2", "threads stands there twice"),
    ],
)
def test_a_typing_error_is_one_line(text: str, message: str) -> None:
    with pytest.raises(TuneError, match=r"^--grid: [^\n]+$") as caught:
        grid.parse(text)
    assert message in str(caught.value)


def test_more_settings_than_can_be_tried_are_refused() -> None:
    numbers = list(range(1, 101))
    with pytest.raises(TuneError, match="1,000,000 settings; at most 10,000"):
        grid.settings(
            {"processes": numbers, "threads": numbers, "workers": numbers},
            PRESENT,
            connections=False,
        )


def test_threads_that_no_machine_has_are_refused_with_the_processes_of_the_file_too() -> None:
    with pytest.raises(TuneError, match="8 processes x 1,000 threads are 8,000 request threads"):
        grid.settings({"threads": [1000]}, Sizes(8, 1, 2), connections=False)


def test_without_a_grid_workers_are_varied_only_where_the_pool_is_used() -> None:
    assert grid.default(PRESENT, 2, tasks=0)["workers"] == [2]
    assert grid.default(PRESENT, 2, tasks=7.6)["workers"] == [8, 16, 32]
    assert grid.default(PRESENT, 2, tasks=0)["processes"] == [1, 2, 4]
