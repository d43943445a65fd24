"""Stand: what a session takes for a connection, while a worker's connection does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, ref

from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable


class Execute(Protocol):
    """Has a statement executed, on whatever connection."""

    def __call__(
        self, stand: Stand, statement: Executable, parameters: Any, options: dict[str, Any]
    ) -> CursorResult[Any]:
        """What `Connection.execute` would return."""


class Stand:
    """Stands for a session's connection to an engine in statements that leave for a worker.

    It answers to what a `Session` asks of a connection, and of a bind that gives one. A transaction
    of it is nothing: the session's own connection, if it has one, has its own beside it. Used
    outside of such a statement (by an `after_begin` listener, say), it is that connection.

    Args:
        session: whose.
        real: the engine that it stands for.
        execute: how a statement is executed.
    """

    def __init__(self, session: Session, real: Engine, execute: Execute) -> None:
        self._session = ref(session)
        self._execute = execute
        self.real = real
        self.options: dict[str, Any] = {}
        # the session's own connection, while the session begins with the stand
        self.begins_as: Connection | None = None

    @property
    def session(self) -> Session:
        """The session, which outlives everything that uses its stand."""
        session = self._session()
        if session is None:
            raise ReferenceError("the session of this statement is gone")
        return session

    @property
    def engine(self) -> Stand:
        """Not the real one: the session registers its own connection for that."""
        return self

    @property
    def dialect(self) -> Dialect:
        """The engine's."""
        return self.real.dialect

    def own_connection(self) -> Connection:
        """The session's own connection to the engine, made now if it has none."""
        if self.begins_as is not None:
            return self.begins_as
        return self.session.connection(bind_arguments={"bind": self.real})

    # As a bind

    def connect(self) -> Stand:
        """What the session calls to get its connection."""
        return self

    # As a connection

    def execution_options(self, **options: Any) -> Stand:
        """Note what the session wants of its connection."""
        self.options.update(options)
        return self

    def get_execution_options(self) -> dict[str, Any]:
        """What the session wants of its connection."""
        return {**self.real.get_execution_options(), **self.options}

    def execute(
        self,
        statement: Executable,
        parameters: Any = None,
        *,
        execution_options: dict[str, Any] | None = None,
    ) -> CursorResult[Any]:
        """Have a statement executed, as `Connection.execute`."""
        if self.begins_as is not None:
            return self.begins_as.execute(
                statement, parameters, execution_options=execution_options
            )
        return self._execute(self, statement, parameters, dict(execution_options or {}))

    def scalar(
        self,
        statement: Executable,
        parameters: Any = None,
        *,
        execution_options: dict[str, Any] | None = None,
    ) -> Any:
        """The first column of the first row, as `Connection.scalar`."""
        return self.execute(statement, parameters, execution_options=execution_options).scalar()

    def in_transaction(self) -> bool:
        """No: so that the session begins one."""
        return False

    def in_nested_transaction(self) -> bool:
        """No."""
        return False

    def begin(self) -> StandTransaction:
        """Nothing: a worker's connection has its own transaction."""
        return StandTransaction()

    begin_nested = begin

    def begin_twophase(self, _xid: object = None) -> StandTransaction:
        """Nothing."""
        return StandTransaction()

    def commit(self) -> None:
        """Nothing."""

    rollback = commit
    close = commit

    def invalidate(self, _exception: BaseException | None = None) -> None:
        """Nothing."""

    @property
    def closed(self) -> bool:
        """It is never closed."""
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.own_connection(), name)


class StandTransaction:
    """The transaction of a stand: nothing to commit, nothing to roll back."""

    is_active = True
    is_valid = True

    def prepare(self) -> None:
        """Nothing."""

    def commit(self) -> None:
        """Nothing."""
        self.is_active = False

    rollback = commit
    close = commit


_stands: WeakKeyDictionary[Session, dict[Engine, Stand]] = WeakKeyDictionary()


def stand_for(session: Session, engine: Engine, execute: Execute) -> Stand:
    """The session's stand for an engine: always the same one, as the session knows it by it."""
    stands = _stands.get(session)
    if stands is None:
        stands = _stands[session] = {}
    stand = stands.get(engine)
    if stand is None:
        stand = stands[engine] = Stand(session, engine, execute)
    return stand
