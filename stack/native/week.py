"""A week of the flights, for what measures: its queries take milliseconds of a processor.

To add up all 336,776 flights of the year, as the dashboard does eight times, takes a second, and
then the database's processors would be the limit, whatever stands in ``uwsgi.ini``.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text

from stack.native.servers import load

_OTHERS = "DELETE FROM {} WHERE month <> 1 OR day > 7"


def load_week(url: str, folder: Path) -> None:
    """Load the flights, once, and delete all but those of the year's first week.

    Args:
        url: of the database.
        folder: of its data, where it is noted that they are there.
    """
    done = folder / "a week"
    if done.exists():
        return
    load(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("flights", "weather"):
            connection.execute(text(_OTHERS.format(table)))
    with engine.begin() as connection:  # else it is still at the deletion when it is measured
        connection.execute(text("OPTIMIZE TABLE flights, weather"))
    engine.dispose()
    done.touch()
