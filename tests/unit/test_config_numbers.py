"""Numbers that Python would take, and that nobody means."""

from __future__ import annotations

import pytest

from commonpool import ConfigError, PoolConfig


@pytest.mark.parametrize("text", ["1_0", "٣", "0x10", "1e1", "1.0", "+-1"])
def test_a_whole_number_in_a_variable_is_written_in_plain_digits(text):
    with pytest.raises(ConfigError, match=r"COMMONPOOL_MAX_WORKERS=.*whole number from 1"):
        PoolConfig.from_env({"COMMONPOOL_MAX_WORKERS": text})


@pytest.mark.parametrize(("text", "number"), [(" 8 ", 8), ("+8", 8), ("08", 8)])
def test_space_around_a_number_and_zeros_before_it_change_nothing(text, number):
    assert PoolConfig.from_env({"COMMONPOOL_MAX_WORKERS": text}).max_workers == number


def test_a_number_too_long_to_be_written_is_an_error_all_the_same():
    with pytest.raises(ConfigError, match="max_workers=a whole number of thousands of digits"):
        PoolConfig(max_workers=10**5000)
    with pytest.raises(ConfigError, match="COMMONPOOL_MAX_WORKERS"):
        PoolConfig.from_env({"COMMONPOOL_MAX_WORKERS": "9" * 5000})
