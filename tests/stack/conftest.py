"""A cut of the real data, loaded once, and the application on it."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from commonpool import testing
from stack.app import create_app
from stack.app.database import db
from stack.data.load import load
from stack.data.source import Source, package_directory
from stack.data.urls import parse_database_url
from tests.stack.helpers import EVERY, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient


@pytest.fixture(autouse=True)
def _nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith(("STACK_", "COMMONPOOL_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of CSV files: one flight of fifty, and all that the flights refer to."""
    directory = tmp_path_factory.mktemp("sample")
    package = package_directory()
    for name in ("airlines", "airports", "planes"):
        shutil.copy(package / f"{name}.csv", directory)
    hours = set()
    with (
        zipfile.ZipFile(package / "flights.csv.zip").open("flights.csv") as member,
        (directory / "flights.csv").open("w", newline="") as cut,
    ):
        reader = csv.DictReader(io.TextIOWrapper(member, "utf-8"))
        writer = csv.DictWriter(cut, reader.fieldnames or [])
        writer.writeheader()
        for number, row in enumerate(reader):
            if number % EVERY == 0:
                writer.writerow(row)
                hours.add((row["origin"], row["time_hour"]))
    with (
        (package / "weather.csv").open(newline="") as whole,
        (directory / "weather.csv").open("w", newline="") as cut,
    ):
        reader = csv.DictReader(whole)
        writer = csv.DictWriter(cut, reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(row for row in reader if (row["origin"], row["time_hour"]) in hours)
    return directory


@pytest.fixture(scope="session")
def loaded(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a SQLite database with the sample in it. Only for reading."""
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'flights.db'}"
    load(parse_database_url(url), lambda: Source(sample), Silent())
    return url


@pytest.fixture
def make_app() -> Iterator[Callable[..., Flask]]:
    """Makes applications with the settings given, and closes what they opened."""
    apps: list[Flask] = []

    def make(**config: object) -> Flask:
        app = create_app({"COMMONPOOL_MAX_WORKERS": 8, **config})
        apps.append(app)
        return app

    yield make
    testing.reset()
    for app in apps:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask], loaded: str) -> Flask:
    """The application on the sample."""
    return make_app(DATABASE_URL=loaded)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application on the sample."""
    return app.test_client()
