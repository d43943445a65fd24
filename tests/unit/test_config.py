"""PoolConfig: frozen, checked when made, and never corrected in silence."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import pytest

from commonpool import CommonPoolMiddleware, ConfigError, PoolConfig
from commonpool.process import configure, current_pool

NAN = math.nan
INF = math.inf
HUGE = 10**310  # an int that no float can hold

GOOD = [
    ("max_workers", 1),
    ("max_workers", 10_000),
    ("max_workers_per_request", None),
    ("max_workers_per_request", 1),
    ("max_workers_per_request", 32),
    ("max_queue", None),
    ("max_queue", 1),
    ("max_queue", 10_000_000),
    ("overflow", "caller_runs"),
    ("overflow", "reject"),
    ("deadline", None),
    ("deadline", 5e-324),
    ("deadline", 30),
    ("deadline", INF),
    ("drain_timeout", 0),
    ("drain_timeout", 0.0),
    ("drain_timeout", 3600),
    ("max_coroutines", 1),
    ("max_coroutines", 10_000_000),
    ("offload", "local"),
    ("offload", "caller"),
    ("offload", "dask://scheduler:8786"),
    ("offload", "dask://[::1]:8786"),
    ("offload_workers", None),
    ("offload_workers", 1),
    ("offload_workers", 10_000),
    ("offload_fallback", "error"),
    ("offload_fallback", "local"),
]

BAD = [
    *[
        ("max_workers", value)
        for value in (0, -1, 10_001, HUGE, True, 1.0, 1.5, NAN, INF, None, [4], b"4")
    ],
    *[
        ("max_workers_per_request", value)
        for value in (0, -1, 33, HUGE, True, False, 2.0, NAN, INF, (2,))
    ],
    *[("max_queue", value) for value in (0, -1, 10_000_001, HUGE, True, False, 2.0, NAN, INF, {})],
    *[("overflow", value) for value in ("drop", "Reject", None, True, 0, ["reject"])],
    *[("deadline", value) for value in (0, 0.0, -1, -INF, NAN, HUGE, True, False, [3])],
    *[("drain_timeout", value) for value in (-0.1, INF, -INF, NAN, HUGE, True, None, [3])],
    *[("max_coroutines", value) for value in (0, -1, 10_000_001, HUGE, True, 2.0, NAN, None, [3])],
    *[
        ("offload", value)
        for value in (
            *("Local", "dask", "dask://", "dask://host", "dask://:8786", "dask://host:0"),
            *("dask://host:x", "dask://host:70000", "dask://host:8786/", "dask://me@host:8786"),
            *("DASK://host:8786", "tcp://host:8786", "dask://host:8786?a=b", None, True, ["local"]),
        )
    ],
    *[("offload_workers", value) for value in (0, -1, 10_001, HUGE, True, 2.0, NAN, [3])],
    *[("offload_fallback", value) for value in ("Local", "caller", None, True, ["local"])],
]

NUMBERS = [
    "max_workers",
    "max_workers_per_request",
    "max_queue",
    "deadline",
    "drain_timeout",
    "max_coroutines",
    "offload_workers",
]


def app(_: Any, __: Any) -> list[bytes]:
    return []


def in_the_constructor(knob: str, value: object) -> None:
    PoolConfig(**{knob: value})


def in_a_mapping(knob: str, value: object) -> None:
    PoolConfig.from_mapping({knob: value})


def in_settings(knob: str, value: object) -> None:
    PoolConfig.from_settings({f"COMMONPOOL_{knob.upper()}": value})


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("COMMONPOOL_"):
            monkeypatch.delenv(name)


# Values


def test_the_defaults_are_those_that_are_documented():
    assert dataclasses.asdict(PoolConfig()) == {
        "max_workers": 32,
        "max_workers_per_request": None,
        "max_queue": None,
        "overflow": "caller_runs",
        "deadline": None,
        "drain_timeout": 10,
        "max_coroutines": 1000,
        "offload": "local",
        "offload_workers": None,
        "offload_fallback": "error",
    }


@pytest.mark.parametrize("put", [PoolConfig, lambda **knobs: PoolConfig.from_mapping(knobs)])
@pytest.mark.parametrize(("knob", "value"), GOOD)
def test_a_value_in_range_is_kept_as_it_is(put, knob, value):
    assert getattr(put(**{knob: value}), knob) == value


@pytest.mark.parametrize("put", [in_the_constructor, in_a_mapping, in_settings])
@pytest.mark.parametrize(("knob", "value"), BAD)
def test_a_wrong_value_is_an_error_with_name_value_and_what_would_be_right(put, knob, value):
    with pytest.raises(ConfigError) as caught:
        put(knob, value)
    name = f"COMMONPOOL_{knob.upper()}" if put is in_settings else knob
    assert str(caught.value).startswith(f"{name}={value!r}: must be ")


@pytest.mark.parametrize("knob", NUMBERS)
def test_text_in_code_is_not_taken_for_a_number(knob):
    with pytest.raises(ConfigError, match=f"{knob}='4': must be "):
        PoolConfig(**{knob: "4"})


@pytest.mark.parametrize(
    ("knob", "right"),
    [
        ("max_workers", "a whole number from 1 to 10000"),
        ("max_queue", "a whole number from 1 to 10000000, or None for 4 x max_workers"),
        ("overflow", "'caller_runs' or 'reject'"),
        ("deadline", "a number of seconds above 0, inf for no limit, or None for the server's"),
        ("drain_timeout", "a number of seconds, 0 or more, and not inf"),
    ],
)
def test_what_would_be_right_is_said_in_full(knob, right):
    with pytest.raises(ConfigError) as caught:
        PoolConfig(**{knob: -1})
    assert str(caught.value) == f"{knob}=-1: must be {right}."


def test_a_limit_above_another_knob_shows_both():
    with pytest.raises(ConfigError) as caught:
        PoolConfig(max_workers=4, max_workers_per_request=5)
    assert str(caught.value) == (
        "max_workers_per_request=5: must be a whole number from 1 to max_workers, "
        "or None for all workers (max_workers is 4)."
    )


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PoolConfig().max_workers = 4


def test_a_config_that_is_replaced_in_part_is_checked_again():
    with pytest.raises(ConfigError, match="max_workers=0"):
        dataclasses.replace(PoolConfig(), max_workers=0)


def test_values_are_given_by_name():
    with pytest.raises(TypeError):
        PoolConfig(4)


def test_equal_configs_are_equal_and_hash_alike():
    assert len({PoolConfig(max_workers=4), PoolConfig(max_workers=4), PoolConfig()}) == 2


@pytest.mark.parametrize(("max_queue", "places"), [(None, 20), (7, 7)])
def test_the_waiting_places_are_four_for_each_worker_or_what_was_said(max_queue, places):
    assert PoolConfig(max_workers=5, max_queue=max_queue).waiting_places == places


# Variables


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("MAX_WORKERS", "8", 8),
        ("MAX_WORKERS", " 8\n", 8),
        ("MAX_WORKERS_PER_REQUEST", "3", 3),
        ("MAX_WORKERS_PER_REQUEST", "None", None),
        ("MAX_QUEUE", "100", 100),
        ("MAX_QUEUE", "none", None),
        ("OVERFLOW", "reject", "reject"),
        ("OVERFLOW", " reject ", "reject"),
        ("DEADLINE", "2.5", 2.5),
        ("DEADLINE", "inf", INF),
        ("DEADLINE", "none", None),
        ("DRAIN_TIMEOUT", "0", 0.0),
        ("DRAIN_TIMEOUT", "1e1", 10.0),
    ],
)
def test_the_text_of_a_variable_is_read_as_what_its_knob_takes(monkeypatch, name, text, value):
    monkeypatch.setenv(f"COMMONPOOL_{name}", text)
    read = getattr(PoolConfig.from_env(), name.lower())
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("MAX_WORKERS", text) for text in ("many", "0", "-1", "1.5", "1e1", "0x10", "None")],
        *[("MAX_WORKERS_PER_REQUEST", text) for text in ("all", "0", "33", "true")],
        *[("MAX_QUEUE", text) for text in ("inf", "0", "nan", "9" * 5000)],
        *[("OVERFLOW", text) for text in ("None", "drop", "REJECT", "'reject'")],
        *[("DEADLINE", text) for text in ("soon", "0", "-1", "nan", "30s", "1,5", "1e-400")],
        *[("DRAIN_TIMEOUT", text) for text in ("inf", "nan", "-1", "none", "1e400")],
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(name, text):
    with pytest.raises(ConfigError, match=f"^COMMONPOOL_{name}=.*: must be "):
        PoolConfig.from_env({f"COMMONPOOL_{name}": text})


@pytest.mark.parametrize("knob", [*NUMBERS, "overflow"])
@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_variable_counts_as_unset(knob, text):
    assert PoolConfig.from_env({f"COMMONPOOL_{knob.upper()}": text}) == PoolConfig()


def test_other_variables_are_left_alone():
    others = {"PATH": "/bin", "MAX_WORKERS": "many", "XCOMMONPOOL_MAX_WORKERS": "many"}
    assert PoolConfig.from_env(others) == PoolConfig()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("COMMONPOOL_MAX_WORKER", "COMMONPOOL_MAX_WORKERS"),
        ("COMMONPOOL_WORKERS", "COMMONPOOL_MAX_WORKERS"),
        ("COMMONPOOL_QUEUE", "COMMONPOOL_MAX_QUEUE"),
        ("COMMONPOOL_TIMEOUT", "COMMONPOOL_DRAIN_TIMEOUT"),
        ("COMMONPOOL_DEAD_LINE", "COMMONPOOL_DEADLINE"),
        ("COMMONPOOL_OVERFLOWS", "COMMONPOOL_OVERFLOW"),
    ],
)
def test_an_unknown_variable_names_the_nearest_known_one(wrong, meant):
    with pytest.raises(ConfigError) as caught:
        PoolConfig.from_env({wrong: "8"})
    assert str(caught.value).startswith(
        f"{wrong} is not a setting of commonpool. Did you mean {meant}? "
    )


@pytest.mark.parametrize("wrong", ["COMMONPOOL_", "COMMONPOOL_XYZ"])
def test_an_unknown_variable_like_no_other_lists_them_all(wrong):
    with pytest.raises(ConfigError) as caught:
        PoolConfig.from_env({wrong: "8"})
    assert "Did you mean" not in str(caught.value)
    for knob in (*NUMBERS, "overflow"):
        assert f"COMMONPOOL_{knob.upper()}" in str(caught.value)


# Mappings


def test_a_mapping_may_hold_texts_and_numbers():
    read = PoolConfig.from_mapping({"max_workers": "4", "deadline": 2})
    assert read == PoolConfig(max_workers=4, deadline=2)


@pytest.mark.parametrize("key", ["max_worker", "MAX_WORKERS", "COMMONPOOL_MAX_WORKERS", "", 3])
def test_an_unknown_key_of_a_mapping_is_an_error_that_names_it(key):
    with pytest.raises(ConfigError, match=f"^{key} is not a setting of commonpool."):
        PoolConfig.from_mapping({key: 4})


@pytest.mark.parametrize("knob", NUMBERS)
def test_an_empty_text_in_a_mapping_is_no_number(knob):
    with pytest.raises(ConfigError, match=f"^{knob}='': must be "):
        PoolConfig.from_mapping({knob: ""})


# Middlewares


def test_a_wrong_variable_is_found_when_the_middleware_is_made(monkeypatch):
    monkeypatch.setenv("COMMONPOOL_MAX_WORKERS", "many")
    with pytest.raises(ConfigError, match="COMMONPOOL_MAX_WORKERS='many'"):
        CommonPoolMiddleware(app)


def test_the_variables_make_the_pool_of_a_middleware_without_a_config(monkeypatch):
    monkeypatch.setenv("COMMONPOOL_MAX_WORKERS", "3")
    CommonPoolMiddleware(app)
    assert current_pool().stats().max_workers == 3


def test_a_config_in_code_comes_before_the_variables(monkeypatch):
    monkeypatch.setenv("COMMONPOOL_MAX_WORKERS", "3")
    CommonPoolMiddleware(app, PoolConfig(max_workers=5))
    assert current_pool().stats().max_workers == 5


def test_a_middleware_without_a_config_takes_the_pool_that_there_is():
    CommonPoolMiddleware(app, PoolConfig(max_workers=5))
    pool = current_pool()
    CommonPoolMiddleware(app)
    assert current_pool() is pool


def test_two_middlewares_may_ask_for_the_same():
    for _ in range(2):
        CommonPoolMiddleware(app, PoolConfig(max_workers=5))
    assert current_pool().stats().max_workers == 5


def said_before() -> None:
    CommonPoolMiddleware(app, PoolConfig(max_workers=5))


def made_before() -> None:
    configure(PoolConfig(max_workers=5))
    current_pool()


@pytest.mark.parametrize("earlier", [said_before, made_before])
def test_a_config_that_differs_is_an_error_that_shows_both(earlier: Callable[[], None]):
    earlier()
    with pytest.raises(ConfigError) as caught:
        CommonPoolMiddleware(app, PoolConfig(max_workers=6))
    assert f"there is: {PoolConfig(max_workers=5)}" in str(caught.value)
    assert f"asked for: {PoolConfig(max_workers=6)}" in str(caught.value)


def test_a_config_that_differs_from_the_pool_the_variables_made_is_an_error():
    current_pool()
    with pytest.raises(ConfigError, match="has a different config already"):
        CommonPoolMiddleware(app, PoolConfig(max_workers=6))


def test_after_a_conflict_the_first_config_stands():
    said_before()
    with pytest.raises(ConfigError):
        CommonPoolMiddleware(app, PoolConfig(max_workers=6))
    assert current_pool().stats().max_workers == 5


@pytest.mark.parametrize("config", [{"max_workers": 4}, 4, "4", PoolConfig])
def test_a_config_of_another_kind_is_an_error(config):
    with pytest.raises(ConfigError, match="config must be a PoolConfig or None, not "):
        CommonPoolMiddleware(app, config)


@pytest.mark.parametrize(("deadline", "seconds"), [(None, INF), (INF, INF), (2.5, 2.5)])
def test_a_request_has_as_long_as_the_config_says(deadline, seconds):
    configure(PoolConfig(deadline=deadline))
    assert current_pool().request_seconds == seconds
