"""The schema: flights, and what they refer to.

No foreign keys: four destinations are missing among the airports and a sixth of the flights
name a plane that the registry lacks, so the data would not pass them.

Times are UTC without a zone. Delays are minutes; negative means early, and NULL means that it
never happened: a flight without ``dep_delay`` was cancelled.
"""

from __future__ import annotations

import zlib
from datetime import datetime

from sqlalchemy import Index, SmallInteger, String
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite as SQLiteDialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

_MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


class Base(DeclarativeBase):
    """The root of all models of the stack."""


class Airline(Base):
    """A carrier: its two letters and its name."""

    __tablename__ = "airlines"
    __table_args__ = _MARIADB

    carrier: Mapped[str] = mapped_column(String(2), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))


class Airport(Base):
    """An airport of the United States, by its FAA code; altitude in feet, ``tz`` in hours."""

    __tablename__ = "airports"
    __table_args__ = _MARIADB

    faa: Mapped[str] = mapped_column(String(4), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    lat: Mapped[float]
    lon: Mapped[float]
    alt: Mapped[int]
    tz: Mapped[int] = mapped_column(SmallInteger)
    dst: Mapped[str] = mapped_column(String(1))
    tzone: Mapped[str | None] = mapped_column(String(40))


class Plane(Base):
    """A plane of the FAA's registry, by its tail number; ``year`` is the year it was built."""

    __tablename__ = "planes"
    __table_args__ = _MARIADB

    tailnum: Mapped[str] = mapped_column(String(8), primary_key=True)
    year: Mapped[int | None] = mapped_column(SmallInteger)
    type: Mapped[str] = mapped_column(String(40))
    manufacturer: Mapped[str] = mapped_column(String(40))
    model: Mapped[str] = mapped_column(String(40))
    engines: Mapped[int] = mapped_column(SmallInteger)
    seats: Mapped[int] = mapped_column(SmallInteger)
    speed: Mapped[int | None] = mapped_column(SmallInteger)
    engine: Mapped[str] = mapped_column(String(40))


class Weather(Base):
    """An hour of weather at one of the three airports.

    Temperatures are degrees Fahrenheit, winds miles an hour, rain inches, visibility miles.
    """

    __tablename__ = "weather"
    __table_args__ = _MARIADB

    origin: Mapped[str] = mapped_column(String(4), primary_key=True)
    time_hour: Mapped[datetime] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(SmallInteger)
    month: Mapped[int] = mapped_column(SmallInteger)
    day: Mapped[int] = mapped_column(SmallInteger)
    hour: Mapped[int] = mapped_column(SmallInteger)
    temp: Mapped[float | None]
    dewp: Mapped[float | None]
    humid: Mapped[float | None]
    wind_dir: Mapped[int | None] = mapped_column(SmallInteger)
    wind_speed: Mapped[float | None]
    wind_gust: Mapped[float | None]
    precip: Mapped[float]
    pressure: Mapped[float | None]
    visib: Mapped[float]


class Flight(Base):
    """A flight that was to leave New York in 2013.

    Each index covers one of the dashboard's aggregates: what is grouped by, then the delay, so
    that the query reads the index in its order and never the rows.
    """

    __tablename__ = "flights"
    __table_args__ = (
        Index("ix_flights_carrier", "carrier", "dep_delay"),
        Index("ix_flights_hour", "hour", "dep_delay"),
        Index("ix_flights_day", "month", "day", "dep_delay"),
        Index("ix_flights_route", "origin", "dest", "dep_delay"),
        Index("ix_flights_weather", "origin", "time_hour", "dep_delay"),
        Index("ix_flights_plane", "tailnum", "dep_delay"),
        _MARIADB,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(SmallInteger)
    month: Mapped[int] = mapped_column(SmallInteger)
    day: Mapped[int] = mapped_column(SmallInteger)
    dep_time: Mapped[int | None] = mapped_column(SmallInteger)
    sched_dep_time: Mapped[int] = mapped_column(SmallInteger)
    dep_delay: Mapped[int | None] = mapped_column(SmallInteger)
    arr_time: Mapped[int | None] = mapped_column(SmallInteger)
    sched_arr_time: Mapped[int] = mapped_column(SmallInteger)
    arr_delay: Mapped[int | None] = mapped_column(SmallInteger)
    carrier: Mapped[str] = mapped_column(String(2))
    flight: Mapped[int] = mapped_column(SmallInteger)
    tailnum: Mapped[str | None] = mapped_column(String(8))
    origin: Mapped[str] = mapped_column(String(4))
    dest: Mapped[str] = mapped_column(String(4))
    air_time: Mapped[int | None] = mapped_column(SmallInteger)
    distance: Mapped[int] = mapped_column(SmallInteger)
    hour: Mapped[int] = mapped_column(SmallInteger)
    minute: Mapped[int] = mapped_column(SmallInteger)
    time_hour: Mapped[datetime]


class LoadedTable(Base):
    """How many rows a finished load put into a table, and what it was made from."""

    __tablename__ = "loaded_tables"
    __table_args__ = _MARIADB

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    row_count: Mapped[int]
    source: Mapped[str] = mapped_column(String(80))


DATA_MODELS: tuple[type[Base], ...] = (Airline, Airport, Plane, Weather, Flight)
"""The models that are filled from a file each, in the order of loading: the largest last."""


def schema_fingerprint() -> str:
    """Return eight hex digits that change when a table, a column or an index does."""
    statements: list[str] = []
    dialect = SQLiteDialect()
    for table in Base.metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    return f"{zlib.crc32(';'.join(statements).encode()):08x}"
