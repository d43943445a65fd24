"""The table that the soak's statements read."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

HIGHEST = 500


class Base(DeclarativeBase):
    """The soak's own tables."""


class Number(Base):
    """A number and its square."""

    __tablename__ = "soak_numbers"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    square: Mapped[int]


def load(url: str) -> None:
    """Make the table anew, with the numbers from 1 to `HIGHEST`.

    Args:
        url: of the database.
    """
    engine = create_engine(url)
    try:
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(Number(number=n, square=n * n) for n in range(1, HIGHEST + 1))
            session.commit()
    finally:
        engine.dispose()
