"""The queries that all peers run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, literal, select


def query(number: int, seconds: float) -> Select[Any]:
    """A query that takes `seconds` in the database and gives `number`."""
    return select(literal(number) + func.sleep(seconds))


def queries(count: int, seconds: float) -> list[Select[Any]]:
    """So many of them, numbered from 0."""
    return [query(number, seconds) for number in range(count)]
