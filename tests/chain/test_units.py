"""Sizes and times."""

from __future__ import annotations

import pytest

from commonpool.chain.units import bytes_of, seconds


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("30", 30),
        ("30s", 30),
        ("1m30s", 90),
        ("1h 30m", 5400),
        ("500ms", 0.5),
        ("1d", 86_400),
        ("1w", 604_800),
        ("1M", 2_592_000),
        ("1y", 31_536_000),
        ("1.5s", 1.5),
        (" 10s ", 10),
        ("0", 0),
    ],
)
def test_a_time_is_seconds(text: str, number: float) -> None:
    assert seconds(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", " ", "s", "30x", "-1", "$t", "30s x", "٣"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1024", 1024),
        ("8k", 8192),
        ("8K", 8192),
        ("1m", 1_048_576),
        ("2304m", 2_415_919_104),
        ("1g", 1_073_741_824),
        ("512MB", 536_870_912),
        ("1.5gb", 1_610_612_736),
        ("100b", 100),
        ("2GiB", 2_147_483_648),
        ("0", 0),
    ],
)
def test_a_size_is_bytes(text: str, number: int) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["", "k", "8x", "-1", "off", "$size", "8 8"])
def test_what_is_no_size_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        bytes_of(text)
