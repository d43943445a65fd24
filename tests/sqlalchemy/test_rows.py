"""Rows are freed on the thread that had them: mysqlclient locks their connection for that."""

from __future__ import annotations

import traceback

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from commonpool import run_in_parallel
from tests.sqlalchemy.asking import LIMIT
from tests.sqlalchemy.models import User


def boom(_value):
    raise LookupError("mine")


@pytest.fixture
def session(database):
    """A session whose rows with a number in them cannot be made."""
    types = pytest.importorskip("MySQLdb.constants.FIELD_TYPE")
    converters = pytest.importorskip("MySQLdb.converters")
    conv = {**converters.conversions, types.LONG: boom}
    engine = database.make_engine(connect_args={"conv": conv})
    with Session(engine) as session:
        yield session


def in_the_driver(error):
    """What the driver's calls hold in an error's traceback."""
    return [
        value
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_globals["__name__"].startswith("MySQLdb")
        for value in frame.f_locals.values()
    ]


@pytest.mark.databases("mariadb-mysqlclient")
@pytest.mark.parametrize("timeout", [None, LIMIT])
def test_the_error_of_a_statement_keeps_no_rows_of_a_connection_that_is_another_s(session, timeout):
    with pytest.raises(LookupError, match="mine") as caught:
        run_in_parallel([select(User.id)] * 2, session=session, timeout=timeout)
    assert not in_the_driver(caught.value)


@pytest.mark.databases("mariadb-mysqlclient")
def test_nor_does_the_error_of_a_function(session):
    engine = session.get_bind()

    def task():
        with Session(engine) as own:
            return own.scalars(select(User.id)).all()

    with pytest.raises(LookupError, match="mine") as caught:
        run_in_parallel([task] * 2, timeout=LIMIT)
    assert not in_the_driver(caught.value)
