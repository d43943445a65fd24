"""The dashboard's aggregates: eight queries that do not need each other.

Each is one statement over an index that covers it, and a function that makes figures of its rows,
when all statements have run. The database adds up; means are taken and rounded here, in one place,
so that SQLite's floats and MariaDB's decimals give the same figures. Orders are total, so that both
modes give the same rows.

``delay`` is always the mean delay at departure, in minutes, of the flights that left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, case, cast, func, select

from stack.app.runs import Run, run_statements
from stack.data.models import Airline, Airport, Flight, Plane, Weather

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Executable, RowMapping
    from sqlalchemy.orm import InstrumentedAttribute

    from stack.app.runs import Mode

Rows = list[dict[str, Any]]

YEAR = 2013
TOP_ROUTES = 10

VISIBILITY = ("under ½", "½ to 2", "2 to 5", "5 to 9", "10")
_VISIBILITY_BELOW = (0.5, 2, 5, 9.5)

WIND = ("0 to 4", "5 to 9", "10 to 14", "15 to 19", "20 to 24", "25 +")
_WIND_BELOW = (5, 10, 15, 20, 25)
_WIND_CREDIBLE = 100  # miles an hour; one hour of the data says 1,048

FLEET_AGE = ("0 to 4", "5 to 9", "10 to 14", "15 to 19", "20 to 24", "25 +")
_AGE_BELOW = (5, 10, 15, 20, 25)

_FLOWN = func.count(Flight.dep_delay).label("flown")
_MINUTES = func.sum(Flight.dep_delay).label("minutes")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement, and how its rows become figures."""

    statement: Executable
    shape: Callable[[Sequence[RowMapping]], Rows]


def carriers() -> Query:
    """``carrier``, ``name``, ``flights`` and ``delay`` of each airline, the latest first."""
    each = (
        select(Flight.carrier, _FLOWN, _MINUTES).group_by(Flight.carrier).subquery("each_carrier")
    )
    mean = cast(each.c.minutes, Float) / each.c.flown
    return Query(
        select(each.c.carrier, Airline.name, each.c.flown, each.c.minutes)
        .join_from(each, Airline, Airline.carrier == each.c.carrier)
        .order_by(mean.desc(), each.c.carrier),
        lambda rows: [
            {"carrier": row["carrier"], "name": row["name"], **_mean(row)} for row in rows
        ],
    )


def hours() -> Query:
    """``hour``, ``flights`` and ``delay`` for each hour of scheduled departure."""
    return Query(
        select(Flight.hour, _FLOWN, _MINUTES).group_by(Flight.hour).order_by(Flight.hour),
        # The one flight planned for 1 a.m. was cancelled: an hour without a departure has no delay.
        lambda rows: [{"hour": row["hour"], **_mean(row)} for row in rows if row["flown"]],
    )


def days() -> Query:
    """``date``, ``flights`` and ``delay`` of each day of the year."""
    return Query(
        select(Flight.month, Flight.day, _FLOWN, _MINUTES)
        .group_by(Flight.month, Flight.day)
        .order_by(Flight.month, Flight.day),
        lambda rows: [
            {"date": date(YEAR, row["month"], row["day"]).isoformat(), **_mean(row)} for row in rows
        ],
    )


def routes() -> Query:
    """``origin``, ``destination``, its ``name``, ``flights`` and ``delay``: the busiest."""
    each = (
        select(Flight.origin, Flight.dest, _FLOWN, _MINUTES)
        .group_by(Flight.origin, Flight.dest)
        .order_by(_FLOWN.desc(), Flight.origin, Flight.dest)
        .limit(TOP_ROUTES)
        .subquery("each_route")
    )
    return Query(
        select(each.c.origin, each.c.dest, Airport.name, each.c.flown, each.c.minutes)
        .join_from(each, Airport, Airport.faa == each.c.dest, isouter=True)
        .order_by(each.c.flown.desc(), each.c.origin, each.c.dest),
        lambda rows: [
            {
                "origin": row["origin"],
                "destination": row["dest"],
                "name": row["name"] or row["dest"],  # four are missing among the airports
                **_mean(row),
            }
            for row in rows
        ],
    )


def visibility() -> Query:
    """``band`` (miles), ``flights`` and ``delay`` by how far one could see."""
    return _by_weather(Weather.visib, _VISIBILITY_BELOW, VISIBILITY)


def wind() -> Query:
    """``band`` (miles an hour), ``flights`` and ``delay`` by how hard the wind blew."""
    credible = Weather.wind_speed < _WIND_CREDIBLE
    return _by_weather(Weather.wind_speed, _WIND_BELOW, WIND, credible)


def fleet_age() -> Query:
    """``band`` (years), ``flights`` and ``delay`` by the age of the plane."""
    each = select(Flight.tailnum, _FLOWN, _MINUTES).group_by(Flight.tailnum).subquery("each_plane")
    band = _band(YEAR - Plane.year, _AGE_BELOW)
    return _banded(
        select(band, _flown(each), _minutes(each))
        .join_from(each, Plane, Plane.tailnum == each.c.tailnum)
        .where(Plane.year.is_not(None))
        .group_by(band)
        .order_by(band),
        FLEET_AGE,
    )


def cancellations() -> Query:
    """``month``, ``scheduled``, ``cancelled``, ``share`` in percent, and ``delay``."""
    scheduled = func.count().label("scheduled")
    return Query(
        select(Flight.month, scheduled, _FLOWN, _MINUTES)
        .group_by(Flight.month)
        .order_by(Flight.month),
        lambda rows: [
            {
                "month": row["month"],
                "scheduled": row["scheduled"],
                "cancelled": row["scheduled"] - row["flown"],
                "share": _rounded(100 * (1 - row["flown"] / row["scheduled"])),
                **_mean(row),
            }
            for row in rows
        ],
    )


def _by_weather(
    measure: InstrumentedAttribute[float] | InstrumentedAttribute[float | None],
    below: Sequence[float],
    labels: Sequence[str],
    *conditions: ColumnElement[bool],
) -> Query:
    """Group by a measure of the weather at the airport, in the hour of scheduled departure.

    The flights of each hour are added up before they meet the weather: 19,000 look-ups, not
    337,000.
    """
    each = (
        select(Flight.origin, Flight.time_hour, _FLOWN, _MINUTES)
        .group_by(Flight.origin, Flight.time_hour)
        .subquery("each_hour")
    )
    same_hour = (Weather.origin == each.c.origin) & (Weather.time_hour == each.c.time_hour)
    band = _band(measure, below)
    return _banded(
        select(band, _flown(each), _minutes(each))
        .join_from(each, Weather, same_hour)
        .where(measure.is_not(None), *conditions)
        .group_by(band)
        .order_by(band),
        labels,
    )


def _band(measure: ColumnElement[Any] | InstrumentedAttribute[Any], below: Sequence[float]) -> Any:
    """Return the position of the first limit that ``measure`` is below, as a column."""
    conditions = [(measure < limit, index) for index, limit in enumerate(below)]
    return case(*conditions, else_=len(below)).label("band")


def _flown(subquery: Any) -> Any:
    return func.sum(subquery.c.flown).label("flown")


def _minutes(subquery: Any) -> Any:
    return func.sum(subquery.c.minutes).label("minutes")


def _banded(statement: Executable, labels: Sequence[str]) -> Query:
    return Query(
        statement, lambda rows: [{"band": labels[row["band"]], **_mean(row)} for row in rows]
    )


def _mean(row: RowMapping) -> dict[str, Any]:
    """Return the flights of a row, and the mean of their delays: ``None`` where none left."""
    flown = int(row["flown"])
    return {"flights": flown, "delay": _rounded(row["minutes"] / flown) if flown else None}


def _rounded(number: Any) -> float:
    """Round to hundredths: the one place where figures are rounded."""
    return round(float(number), 2)


DASHBOARD: Mapping[str, Query] = {
    "days": days(),
    "carriers": carriers(),
    "hours": hours(),
    "visibility": visibility(),
    "wind": wind(),
    "fleet_age": fleet_age(),
    "routes": routes(),
    "cancellations": cancellations(),
}
"""The queries of the dashboard, by the names that the JSON and the page know them by."""


def ask_dashboard(mode: Mode) -> Run[Rows]:
    """Run the dashboard's statements in the given mode; return their figures and times.

    Raises:
        Exception: whatever the first statement that fails raises.
    """
    done = run_statements({name: query.statement for name, query in DASHBOARD.items()}, mode)
    figures = {name: DASHBOARD[name].shape(rows) for name, rows in done.results.items()}
    return Run(done.mode, done.elapsed_ms, done.tasks, figures)
