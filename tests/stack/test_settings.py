"""The settings: read once, checked at start, never corrected in silence."""

from __future__ import annotations

import math
import shutil

import pytest

from stack.app.settings import Settings, SettingsError
from stack.data.urls import DEFAULT_FILE


def test_the_defaults_are_the_demo_database_and_no_latency():
    settings = Settings.from_mapping({})
    assert settings.database_url.database == str(DEFAULT_FILE)
    assert settings.latency_ms == 0
    assert settings.pool_size == 32


def test_there_is_a_connection_for_each_worker_and_request_thread_unless_told_otherwise():
    assert Settings.from_mapping({"COMMONPOOL_MAX_WORKERS": "6"}).pool_size == 6
    assert Settings.from_mapping({"STACK_THREADS": "5"}).max_overflow == 5
    both = {"COMMONPOOL_MAX_WORKERS": "6", "STACK_POOL_SIZE": "9"}
    assert Settings.from_mapping(both).pool_size == 9


@pytest.mark.parametrize("given", ["-1", "10001", "1.5", "fast", "nan", " "])
def test_a_bad_latency_names_itself_and_its_range(given):
    with pytest.raises(SettingsError) as error:
        Settings.from_mapping({"STACK_DB_LATENCY_MS": given})
    assert str(error.value) == (
        f"STACK_DB_LATENCY_MS is {given!r}; it must be a whole number from 0 to 10000"
    )


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "3601", "long", None, math.nan])
def test_a_bad_statement_limit_names_itself_and_its_range(given):
    with pytest.raises(
        SettingsError, match=r"STACK_STATEMENT_SECONDS is .*above 0 and at most 3600"
    ):
        Settings.from_mapping({"STACK_STATEMENT_SECONDS": given})


@pytest.mark.parametrize(
    "name", ["STACK_POOL_SIZE", "STACK_MAX_OVERFLOW", "STACK_THREADS", "COMMONPOOL_MAX_WORKERS"]
)
def test_a_bad_size_names_itself(name):
    with pytest.raises(SettingsError, match=f"{name} is 'many'"):
        Settings.from_mapping({name: "many"})


def test_a_bad_database_url_does_not_show_its_password():
    with pytest.raises(SettingsError) as error:
        Settings.from_mapping({"DATABASE_URL": "mysql://me:open-sesame@host:port/flights"})
    assert "open-sesame" not in str(error.value)


def test_a_relative_file_is_taken_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = Settings.from_mapping({"DATABASE_URL": "sqlite:///data/flights.db"}).database_url
    assert url.database == str(tmp_path / "data" / "flights.db")


def test_a_file_with_unusual_characters_in_its_name_is_found(make_app, loaded, tmp_path):
    odd = tmp_path / "50% of #1; it's"
    odd.mkdir()
    shutil.copy(loaded.removeprefix("sqlite:///"), odd / "flights.db")
    client = make_app(DATABASE_URL=f"sqlite:///{odd}/flights.db").test_client()
    assert client.get("/").status_code == 200
