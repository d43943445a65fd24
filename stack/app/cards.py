"""From the results of the queries to the cards of the page: one function for each query."""

from __future__ import annotations

import calendar
from datetime import date
from typing import TYPE_CHECKING, Any

from stack.app.charts import Chart, Day, Table, with_bars, with_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stack.app.queries import Rows

_WORST_DAYS = 5
_HEAT_FROM = (0, 10, 20, 30, 45, 60)  # minutes at which the next, stronger level begins

_MONTHS = tuple(calendar.month_name)[1:]  # no locale is set, so they are English
_SUFFIXES = (" Inc.", " Co.", " Corporation")


def dashboard_cards(results: Mapping[str, Rows]) -> list[Chart]:
    """Return a chart for each of the dashboard's ``results``, in their order."""
    return [
        _DRAWN[name](name, chr(ord("A") + position), rows)
        for position, (name, rows) in enumerate(results.items())
    ]


def year_in_words(cancellations: Rows) -> dict[str, str]:
    """Return the year's figures as the page's first sentence gives them."""
    scheduled = sum(row["scheduled"] for row in cancellations)
    cancelled = sum(row["cancelled"] for row in cancellations)
    minutes = sum(row["flights"] * (row["delay"] or 0) for row in cancellations)
    flown = scheduled - cancelled
    return {
        "scheduled": f"{scheduled:,}",
        "cancelled": f"{100 * cancelled / scheduled if scheduled else 0:.1f}%",
        "delay": f"{minutes / flown if flown else 0:.1f} minutes",
    }


def _days(name: str, sign: str, rows: Rows) -> Chart:
    months: dict[str, list[Day]] = {}
    for row in rows:
        day = date.fromisoformat(row["date"])
        text = f"{_day(day)}: {_minutes(row)}, {row['flights']:,} flights"
        months.setdefault(_MONTHS[day.month - 1][:3], []).append(Day(day.day, _level(row), text))
    worst = sorted(rows, key=lambda row: (-_delay(row), row["date"]))[:_WORST_DAYS]
    named = [(_day(date.fromisoformat(row["date"])), _minutes(row)) for row in worst]
    return Chart(
        name=name,
        sign=sign,
        kind="calendar",
        title="The year, day by day",
        unit="mean delay at departure, minutes",
        finding=f"The worst day was {named[0][0]}, {named[0][1]} late." if named else "",
        months=months,
        worst=named,
        table=_table(rows, "Day", lambda row: _day(date.fromisoformat(row["date"]))),
    )


def _carriers(name: str, sign: str, rows: Rows) -> Chart:
    return with_bars(
        Chart(
            name=name,
            sign=sign,
            kind="bars",
            title="Delay by airline",
            unit="mean delay at departure, minutes",
            finding=_most(rows, lambda row: _airline(row["name"]), "leaves latest"),
            label_percent=38,
            row_height=35,
            table=_table(rows, "Airline", lambda row: row["name"]),
        ),
        [(_airline(row["name"]), _delay(row), f"{_delay(row):.1f}") for row in rows],
    )


def _routes(name: str, sign: str, rows: Rows) -> Chart:
    def route(row: Mapping[str, Any]) -> str:
        return f"{row['origin']} → {row['destination']}"

    busiest = f"{route(rows[0])} is flown most: {rows[0]['flights']:,} times." if rows else ""
    return with_bars(
        Chart(
            name=name,
            sign=sign,
            kind="bars",
            title="Busiest routes",
            unit="flights in the year",
            finding=busiest,
            label_percent=27,
            table=_table(rows, "Route", lambda row: f"{route(row)}, {row['name']}"),
        ),
        [(route(row), row["flights"], f"{row['flights']:,}") for row in rows],
    )


def _hours(name: str, sign: str, rows: Rows) -> Chart:
    def clock(row: Mapping[str, Any]) -> str:
        return f"{row['hour']}:00"

    return with_columns(
        Chart(
            name=name,
            sign=sign,
            kind="columns",
            title="Delay by hour of departure",
            unit="mean delay at departure, minutes",
            finding=_most(rows, clock, "is the worst hour"),
            axis="scheduled hour, New York time",
            table=_table(rows, "Hour", clock),
        ),
        [(str(row["hour"]), _delay(row), "") for row in rows],
    )


def _visibility(name: str, sign: str, rows: Rows) -> Chart:
    return _by_band(name, sign, rows, "Delay by visibility", "visibility, miles")


def _wind(name: str, sign: str, rows: Rows) -> Chart:
    return _by_band(name, sign, rows, "Delay by wind", "wind speed, miles an hour")


def _fleet_age(name: str, sign: str, rows: Rows) -> Chart:
    return _by_band(name, sign, rows, "Delay by age of the plane", "age, years")


def _by_band(name: str, sign: str, rows: Rows, title: str, axis: str) -> Chart:
    return with_columns(
        Chart(
            name=name,
            sign=sign,
            kind="columns",
            title=title,
            unit="mean delay at departure, minutes",
            finding=_most(rows, lambda row: f"{row['band']} ({axis})", "is the worst band"),
            axis=axis,
            table=_table(rows, axis.capitalize(), lambda row: row["band"]),
        ),
        [(row["band"], _delay(row), f"{_delay(row):.1f}") for row in rows],
    )


def _cancellations(name: str, sign: str, rows: Rows) -> Chart:
    def month(row: Mapping[str, Any]) -> str:
        return _MONTHS[int(row["month"]) - 1]

    worst = max(rows, key=lambda row: row["share"], default=None)
    return with_columns(
        Chart(
            name=name,
            sign=sign,
            kind="columns",
            title="Cancelled flights",
            unit="percent of the scheduled flights",
            finding=f"{month(worst)} is the worst month: {worst['share']:.1f}%." if worst else "",
            axis="month",
            table=Table(
                ("Month", "Scheduled", "Cancelled", "Percent"),
                [
                    (
                        month(row),
                        f"{row['scheduled']:,}",
                        f"{row['cancelled']:,}",
                        f"{row['share']:.1f}",
                    )
                    for row in rows
                ],
            ),
        ),
        [(month(row)[:1], row["share"], f"{row['share']:.1f}") for row in rows],
    )


_DRAWN: Mapping[str, Callable[[str, str, Rows], Chart]] = {
    "days": _days,
    "carriers": _carriers,
    "hours": _hours,
    "visibility": _visibility,
    "wind": _wind,
    "routes": _routes,
    "fleet_age": _fleet_age,
    "cancellations": _cancellations,
}


def _table(rows: Rows, first: str, label: Callable[[Mapping[str, Any]], str]) -> Table:
    return Table(
        (first, "Flights", "Mean delay, min"),
        [(label(row), f"{row['flights']:,}", f"{_delay(row):.1f}") for row in rows],
    )


def _most(rows: Rows, label: Callable[[Mapping[str, Any]], str], claim: str) -> str:
    """Return a sentence about the row with the largest delay; nothing where there is no row."""
    row = max(rows, key=_delay, default=None)
    return f"{label(row)} {claim}: {_minutes(row)}." if row else ""


def _delay(row: Mapping[str, Any]) -> float:
    """Return the row's mean delay; 0 for a day or a band in which nothing left."""
    return float(row["delay"] or 0)


def _minutes(row: Mapping[str, Any]) -> str:
    return f"{_delay(row):.1f} minutes"


def _level(row: Mapping[str, Any]) -> int:
    return sum(_delay(row) >= limit for limit in _HEAT_FROM)


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _airline(name: str) -> str:
    """Return the airline's name without its legal form: the chart has no room for it."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
