"""Tables with a bit of everything, and their rows: the same in every run."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    ForeignKey,
    LargeBinary,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

USERS, ORDERS, ITEMS, TAGS, EMPLOYEES, CURRENCIES = 50, 200, 500, 8, 12, 5


class Labels(TypeDecorator[tuple[str, ...]]):
    """Several words in one column: in Python a tuple, in the database ``a,b,c``."""

    impl = String(100)
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, _: Dialect) -> str | None:
        return None if value is None else ",".join(value)

    def process_result_value(self, value: Any, _: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(filter(None, value.split(",")))


class Base(DeclarativeBase):
    """What all of them have in common."""


class User(Base):
    """Every third is not active, every fifth has no data, and the last one has no orders."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    active: Mapped[bool]
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    created: Mapped[datetime]
    labels: Mapped[tuple[str, ...]] = mapped_column(Labels)
    biography: Mapped[str] = mapped_column(Text, deferred=True)

    orders: Mapped[list[Order]] = relationship(back_populates="user", order_by="Order.id")


order_tags = Table(
    "order_tags",
    Base.metadata,
    Column("order_id", ForeignKey("orders.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Order(Base):
    """Every second is open; an update counts its version up."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    open: Mapped[bool]
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    version: Mapped[int] = mapped_column()

    user: Mapped[User] = relationship(back_populates="orders")
    items: Mapped[list[Item]] = relationship(back_populates="order", order_by="Item.id")
    tags: Mapped[list[Tag]] = relationship(
        secondary=order_tags, back_populates="orders", order_by="Tag.id"
    )

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 (SQLAlchemy's way)


class Item(Base):
    """Two or three for each order."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    name: Mapped[str] = mapped_column(String(50))

    order: Mapped[Order] = relationship(back_populates="items")


class Tag(Base):
    """One or two for each order, none for every fourth."""

    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))

    orders: Mapped[list[Order]] = relationship(
        secondary=order_tags, back_populates="tags", order_by="Order.id"
    )


class Employee(Base):
    """The root of a hierarchy in which each class has a table of its own."""

    __tablename__ = "employees"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    kind: Mapped[str] = mapped_column(String(20))

    __mapper_args__ = {  # noqa: RUF012 (SQLAlchemy's way)
        "polymorphic_identity": "employee",
        "polymorphic_on": "kind",
    }


class Manager(Employee):
    """Every third employee."""

    __tablename__ = "managers"

    id: Mapped[int] = mapped_column(ForeignKey("employees.id"), primary_key=True)
    department: Mapped[str] = mapped_column(String(50))

    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012 (SQLAlchemy's way)


currencies = Table(  # no class stands for it
    "currencies",
    Base.metadata,
    Column("code", String(3), primary_key=True),
    Column("rate", Numeric(10, 4), nullable=False),
)

TABLES = tuple(Base.metadata.sorted_tables)  # what others refer to comes first

_START = datetime(2024, 1, 1, 12)  # noqa: DTZ001 (the column has no time zone)
_MANAGERS = range(3, EMPLOYEES + 1, 3)

ROWS: dict[str, list[dict[str, Any]]] = {
    "users": [
        {
            "id": n,
            "name": f"User {n:02}",
            "active": n % 3 != 0,
            "data": None if n % 5 == 0 else bytes(range(n)) + b"\x00'\"\\\xff",
            "created": _START + timedelta(days=n, seconds=n),
            "labels": tuple("abc"[: n % 4]),
            "biography": f"The life of user {n}, été 夏. " * n,
        }
        for n in range(1, USERS + 1)
    ],
    "orders": [
        {
            "id": n,
            "user_id": n * 7 % (USERS - 1) + 1,
            "open": n % 2 == 0,
            "total": Decimal(n * 125) / 100,
            "version": 1,
        }
        for n in range(1, ORDERS + 1)
    ],
    "items": [
        {"id": n, "order_id": n * 13 % ORDERS + 1, "name": f"Item {n:03}"}
        for n in range(1, ITEMS + 1)
    ],
    "tags": [{"id": n, "name": f"Tag {n}"} for n in range(1, TAGS + 1)],
    "order_tags": [
        {"order_id": n, "tag_id": tag}
        for n in range(1, ORDERS + 1)
        if n % 4 != 0
        for tag in sorted({n % TAGS + 1, n % 3 + 1})
    ],
    "employees": [
        {
            "id": n,
            "name": f"Employee {n:02}",
            "kind": "manager" if n in _MANAGERS else "employee",
        }
        for n in range(1, EMPLOYEES + 1)
    ],
    "managers": [{"id": n, "department": f"Department {n // 3}"} for n in _MANAGERS],
    "currencies": [
        {"code": code, "rate": Decimal(10 + n) / 8}
        for n, code in enumerate(("CHF", "EUR", "GBP", "JPY", "USD"))
    ],
}


def create(connection: Connection) -> None:
    """Make the tables, with their rows."""
    Base.metadata.create_all(connection)
    _fill(connection)


def restore(connection: Connection) -> None:
    """Make the rows again what they were, where they are not."""
    if any(_read(connection, table) != _expected(table) for table in TABLES):
        for table in reversed(TABLES):
            connection.execute(table.delete())
        _fill(connection)


def _fill(connection: Connection) -> None:
    for table in TABLES:
        connection.execute(insert(table), ROWS[table.name])
    if connection.dialect.name == "postgresql":
        # Only rows without an id count its sequences up.
        for table in (User, Order, Item, Tag, Employee):
            name = table.__tablename__
            connection.execute(
                text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}")
            )


def _read(connection: Connection, table: Table) -> list[tuple[Any, ...]]:
    keys = table.primary_key.columns
    return [tuple(row) for row in connection.execute(select(table).order_by(*keys))]


def _expected(table: Table) -> list[tuple[Any, ...]]:
    return [tuple(row[column.name] for column in table.columns) for row in ROWS[table.name]]
