"""A load: all of the data, checked by its row counts, or nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import func, inspect, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from stack.data.errors import DataError, database_message, one_line
from stack.data.models import DATA_MODELS, Base, Flight, LoadedTable, schema_fingerprint
from stack.data.targets import target_for
from stack.data.urls import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy import URL, Connection, Table

    from stack.data.source import Source
    from stack.data.targets import Target

BATCH_ROWS = 10_000
"""Rows in one statement: more gain nothing, and Ctrl-C is heard between statements."""


class Progress(Protocol):
    """Who is told how a load gets on."""

    def waiting(self) -> None:
        """Another load is at work in the same database."""

    def started(self, total: int) -> None:
        """Rows will be loaded, ``total`` of them."""

    def loaded(self, table: str, rows: int) -> None:
        """``rows`` more of ``table`` are in."""

    def indexing(self) -> None:
        """All rows are in, and the indexes are being built."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a load did: the flights that are there now, and the seconds it took."""

    flights: int
    seconds: float
    already_there: bool


def load(url: URL, find_source: Callable[[], Source], progress: Progress) -> Report:
    """Load the flights into the database at ``url``, unless they are there already.

    Args:
        url: the database, from ``parse_database_url``.
        find_source: finds the CSV files. Where it raises ``DataError``, a whole load that is
            there already will do, whatever it was made from.
        progress: is told what happens.

    Returns:
        What was done.

    Raises:
        DataError: it could not be done; what was there before is still there.
    """
    began = time.monotonic()
    try:
        target = target_for(url)
        with target.locked(progress.waiting):
            try:
                source = find_source()
            except DataError:
                flights = _flights_there(target, None)
                if flights is None:
                    raise
                return Report(flights, time.monotonic() - began, already_there=True)
            identity = _identity(source)
            flights = _flights_there(target, identity)
            if flights is not None:
                return Report(flights, time.monotonic() - began, already_there=True)
            with target.building() as (connection, tables):
                flights = _build(connection, tables, source, identity, progress)
        return Report(flights, time.monotonic() - began, already_there=False)
    except DBAPIError as error:
        raise DataError(f"{describe(url)}: {database_message(error)}") from error
    except SQLAlchemyError as error:
        raise DataError(f"{describe(url)}: {one_line(error)}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else f"{describe(url)}: "
        raise DataError(f"{where}{error.strerror or error}") from error


def _identity(source: Source) -> str:
    """Return what a load is made from: the schema and the content of the files."""
    return f"schema {schema_fingerprint()}, files {source.fingerprint()}"


def _flights_there(target: Target, identity: str | None) -> int | None:
    """Return the number of flights if all tables are there, whole and of ``identity``."""
    with target.reading() as connection:
        if connection is None:
            return None
        present = set(inspect(connection).get_table_names())
        if not set(Base.metadata.tables) <= present:
            return None
        recorded: dict[str, int] = {
            row.name: row.row_count
            for row in connection.execute(
                select(LoadedTable.name, LoadedTable.row_count, LoadedTable.source)
            )
            if identity is None or row.source == identity
        }
        for model in DATA_MODELS:
            count = connection.scalar(select(func.count()).select_from(model))
            if count != recorded.get(model.__tablename__):
                return None
        return recorded[Flight.__tablename__]


def _build(
    connection: Connection,
    tables: Mapping[str, Table],
    source: Source,
    identity: str,
    progress: Progress,
) -> int:
    """Create, fill, index and check the tables; return the number of flights."""
    for table in tables.values():
        connection.execute(CreateTable(table))
    progress.started(sum(source.count(model) for model in DATA_MODELS))
    counts: dict[str, int] = {}
    for model in DATA_MODELS:
        name = model.__tablename__
        counts[name] = 0
        for batch in _batches(source.rows(model)):
            connection.execute(tables[name].insert(), batch)
            counts[name] += len(batch)
            progress.loaded(name, len(batch))
        connection.commit()
    progress.indexing()
    for table in tables.values():
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            index.create(connection)
    for model in DATA_MODELS:
        name = model.__tablename__
        there = connection.scalar(select(func.count()).select_from(tables[name]))
        if there != counts[name]:
            raise DataError(f"{name} has {there} rows of {counts[name]}: nothing was changed")
    connection.execute(
        tables[LoadedTable.__tablename__].insert(),
        [{"name": n, "row_count": count, "source": identity} for n, count in counts.items()],
    )
    connection.commit()
    return counts[Flight.__tablename__]


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH_ROWS)):
        yield batch
