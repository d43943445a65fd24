"""StatementCall: the one call of a statement that waits, on a worker's connection or its own."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Executable
from sqlalchemy.exc import DBAPIError

from commonpool.budget import Share
from commonpool.ext.sqlalchemy.connecting import connecting_until
from commonpool.ext.sqlalchemy.engines import ConnectionBudget, ConnectionShare, budget_of
from commonpool.ext.sqlalchemy.limits import limit_on_server
from commonpool.ext.sqlalchemy.replicas import Replica
from commonpool.ext.sqlalchemy.rows import AWAY, StaysAtHomeError, execute_buffered, free_rows
from commonpool.ext.sqlalchemy.running_statement import first_line
from commonpool.ext.sqlalchemy.sessions import has_changes, own_connection, prepare_for
from commonpool.ext.sqlalchemy.snapshots import SharedSnapshot
from commonpool.ext.sqlalchemy.stand import Stand
from commonpool.ext.sqlalchemy.stats import count
from commonpool.process import freed
from commonpool.staged import Call

# Seconds to the second try for a connection that the database refuses, while workers have some; the
# next pauses are longer, up to one second.
REFUSED_AGAIN = 0.02


class StatementCall(Call):
    """Executes a statement and fetches its rows: on a worker, or on the thread of its session.

    Guarantees:
        A worker has its connection before it claims the call, and gives it back with all rows read.
        On the session's thread it is made on the session's own connection; while others wait for
        one, by a session that has none, on one that is given back with all rows read.
        What a replica is to serve is made there, on either thread, while it has a connection to
        spare, and answers; else it is made as if there was none.

    Its value is the result; `None` where there was no connection for it, the thread is another one,
    or it has a future: then it is still to be made, on the session's thread.

    Args:
        stand: of its session.
        statement: what to execute.
        parameters: of the statement.
        options: for its execution.
        thread: its session's: that of the task which needs it.
        connection_options: for a connection that is not the session's own.
        snapshot: what it is to see, if that was asked for.
        replica: what is to serve it, if that is not the primary.
    """

    value: CursorResult[Any] | None

    def __init__(
        self,
        stand: Stand,
        statement: Executable,
        parameters: Any,
        options: dict[str, Any],
        *,
        thread: int,
        connection_options: dict[str, Any],
        snapshot: SharedSnapshot | None = None,
        replica: Replica | None = None,
    ) -> None:
        super().__init__()
        session = stand.session
        self._stand = stand
        self._statement = statement
        self._parameters = parameters
        self._options = options
        self._snapshot = snapshot
        self._replica = replica
        self._thread = thread
        self._transaction = session.get_transaction()
        self._own_options = dict(connection_options)
        if snapshot is not None:
            self._own_options["isolation_level"] = "REPEATABLE READ"
        self._session_info = session.info
        # At most one; in a list, from which only one thread can take it.
        self._reserved: list[ConnectionShare] = []
        self._at_worker = False
        self._is_left = False  # to be made when its result is needed
        self._connections = budget_of(stand.real)
        self.budget = self._connections if replica is None else budget_of(replica.engine)

    @property
    def name(self) -> str:
        """The first line of the statement."""
        return name_of(self._statement)

    @property
    def engine(self) -> Engine:
        """The session's."""
        return self._stand.real

    def reserve(self) -> bool:
        """Count a connection for it from now on, if there is one to be had."""
        share = self._budget_at(self._replica).take()
        if share is None:
            return False
        self._reserved.append(share)
        if self.future is not None:
            self.future.add_done_callback(self._release)
        return True

    def _release(self, _future: object) -> None:
        with suppress(IndexError):  # a worker has it
            self._reserved.pop().give_back()

    def secure(self) -> Share | None:
        """Check a connection out; `None` where the budget has none, or there is none to be had."""
        # Once the replica has let it down, it waits for a connection of the primary's.
        replica = None if self.budget is self._connections else self._replica
        share: ConnectionShare | None = None
        with suppress(IndexError):
            share = self._reserved.pop()
        if share is None:
            share = self._budget_at(replica).take()
        if share is not None and replica is not None and not self._is_connected(share, replica):
            count("replica_away")
            self.budget, replica = self._connections, None
            share = self._connections.take()
        if share is None or (replica is None and not self._is_connected(share)):
            count("put_off")
            return None
        return share

    def _is_connected(self, share: ConnectionShare, replica: Replica | None = None) -> bool:
        """Whether there is a connection for a share, checked out now; else it is given back."""
        context = self.context if self.context is not None else self.fan_out.context
        try:
            share.connection = context.copy().run(self._connect, replica)
        except BaseException as error:  # its caller will meet the same, and be told
            if replica is None:
                share.budget.pause()
            share.give_back()
            if not isinstance(error, Exception):
                raise
            return False
        share.connected()
        return True

    def _budget_at(self, replica: Replica | None) -> ConnectionBudget:
        return self._connections if replica is None else budget_of(replica.engine)

    def _connect(self, replica: Replica | None = None) -> Connection:
        deadline = self.fan_out.deadline
        if replica is not None:
            of_primary = self.engine.get_execution_options()
            return replica.connect(deadline, {**of_primary, **self._own_options})
        with connecting_until(deadline):
            connection = self.engine.connect()
        return (
            connection.execution_options(**self._own_options) if self._own_options else connection
        )

    def run_with(self, share: Share | None) -> None:
        """Make it on a worker, on the connection that was checked out for it."""
        self._at_worker = True
        super().run_with(share)

    def make(self) -> CursorResult[Any] | None:
        """Execute the statement, wherever this is; see the class."""
        try:
            if self._at_worker:
                return self._on_worker()
            # Who has its future may not want it any more: it is made when the result is asked for.
            if threading.get_ident() != self._thread or self.future is not None:
                self._is_left = True
                return None
            value = self._at_replica()
            if value is not None:
                return value
            if self._may_borrow():
                share = self._connections.take(at_any_rate=True)
                assert share is not None  # noqa: S101 - at any rate
                return self._borrow(share)
            return self.make_at_home()
        except Exception as error:
            free_rows(error)
            self.failure = error
            self.fan_out.hurry = True
            return None

    def _on_worker(self) -> CursorResult[Any] | None:
        share = self.share
        connection = share.connection if isinstance(share, ConnectionShare) else None
        if connection is None:
            self._is_left = True
            return None
        count("on_workers")
        return self._on(connection)

    def _at_replica(self) -> CursorResult[Any] | None:
        """Execute the statement here as a worker would; `None` where no replica is to do that.

        Nor where it has no connection to spare, or does not answer.
        """
        replica = self._replica
        if replica is None:
            return None
        share = self._budget_at(replica).take()
        return None if share is None else self._borrow(share, replica)

    def _may_borrow(self) -> bool:
        """Whether it may be made on a connection that is given back at once.

        A session that has none would keep its own while its other statements wait for workers.
        Where others have to wait for one, that is their loss; else it saves a ROLLBACK for each.
        """
        connections = self._connections
        return (
            self._snapshot is None
            and (self.fan_out.owner.pool.are_waiting_for(connections) or not connections.has_room())
            and own_connection(self._stand.session, self.engine) is None
        )

    def _borrow(
        self, share: ConnectionShare, replica: Replica | None = None
    ) -> CursorResult[Any] | None:
        """Execute the statement here as a worker would; `None` where the database refuses that."""
        try:
            try:
                connection = share.connection = self._connect(replica)
            except Exception as error:
                if replica is not None:
                    count("replica_away")
                elif not isinstance(error, DBAPIError):
                    raise
                return None
            share.connected()
            count("by_callers")
            return self._on(connection)
        finally:
            share.give_back()
            if share.budget.has_room():
                freed(share.budget)

    def _on(self, connection: Connection) -> CursorResult[Any] | None:
        """Execute the statement on a connection that is nobody's."""
        replica = self._replica
        if replica is None or connection.engine is self.engine:
            return self._execute(connection)
        try:
            value = self._execute(connection)
        except Exception as error:
            if not replica.has_lost(connection, error):
                raise
            return None
        if value is not None:
            count("on_replicas")
        return value

    def _execute(self, connection: Connection) -> CursorResult[Any] | None:
        if self._snapshot is not None:
            try:
                self._snapshot.take_on(connection)
            except DBAPIError:  # a sibling's failure has ended it: what that was is to be told
                return None
        prepare_for(self._session_info, connection)
        limit_on_server(connection, self.fan_out.deadline - self.fan_out.owner.pool.clock())
        options = {**self._options, AWAY: True}
        try:
            return execute_buffered(connection, self._statement, self._parameters, options)
        except StaysAtHomeError as error:
            count(error.reason)
            return None

    def is_stale(self) -> bool:
        """Whether its session has changed something since, or ended its transaction.

        Rows from before must not be laid over the objects that a commit has left to be refreshed.
        """
        session = self._stand.session
        return session.get_transaction() is not self._transaction or has_changes(session)

    def make_late(self) -> CursorResult[Any]:
        """Make it now that its result is needed; on the session's thread."""
        value = self._at_replica() if self._is_left and not self.is_stale() else None
        return self.make_at_home() if value is None else value

    def make_at_home(self) -> CursorResult[Any]:
        """Make it on the session's own connection; on its thread."""
        count("by_callers")
        snapshot = self._snapshot
        connection = self._own_connection() if snapshot is None else snapshot.connection
        return execute_buffered(connection, self._statement, self._parameters, self._options)

    def _own_connection(self) -> Connection:
        """The session's own connection; where the database has no more, when workers let one go."""
        pause = REFUSED_AGAIN
        while True:
            nobody_has_one = not self.fan_out.at_workers
            try:
                return self._stand.own_connection()
            except DBAPIError:
                # one after the other would have worked with those that the pool has open
                if nobody_has_one:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 1.0)


def name_of(statement: Executable) -> str:
    """The first line of a statement's text, cut short."""
    try:
        return first_line(str(statement))
    except Exception:  # some can only be written for their own database
        return type(statement).__name__
