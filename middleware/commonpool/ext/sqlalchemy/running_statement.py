"""RunningStatement: a statement that a task waits for, and how it is stopped, once and in time."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from commonpool.errors import DeadlineExceeded
from commonpool.ext.sqlalchemy.servers import Server
from commonpool.ext.sqlalchemy.sockets import kept_descriptor_of
from commonpool.task import Task
from commonpool.watcher import Watch

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("commonpool")

# Seconds after the deadline. First comes the server's own limit, which costs nothing; then the
# server is told to stop; and where that has not helped, the connection is cut.
STOP_AFTER = 0.25
CUT_AFTER = 0.75

# Seconds that the end of a statement waits for a stop that is under way.
STOPPING_LIMIT = 1.0

SHOWN = 100  # characters of a statement, in an error


class RunningStatement:
    """A statement that a task waits for, from before it is sent until it is over.

    Guarantees:
        It is stopped once, `STOP_AFTER` seconds after the deadline or after it was abandoned,
        whichever is earlier; its connection is cut where it has not ended by `CUT_AFTER`.
        When `end` has returned, its connection is neither stopped nor cut any more, or it is not
        clean.
        While it is paused, its connection is neither stopped nor cut.

    Made, and ended, on the thread that executes it.

    Attributes:
        connection: what executes it.
        deadline: the moment on the monotonic clock after which nobody wants its rows.
        server: what it runs in.
        outer: the statement of the same task in whose events this one is executed, if any.
        is_paused: whether nothing is executed now, and the next statement may go on in its place.
        raised: what was raised since it ended in spite of having been stopped.
    """

    # One is made for each statement in a task: defaults stand in the class, as for Task.
    raised: DeadlineExceeded | None = None
    is_paused = False
    _watch: Watch | None = None
    _stopped: threading.Event | None = None
    _abandoned_at = math.inf
    _begun = False  # the stop was handed over; the cut is next
    _sent = False  # the server is being told to stop, or has been
    _sure = False  # it is sure that it was told
    _cut = False
    _over = False  # nothing may be done to the connection any more

    def __init__(self, task: Task, connection: Connection, server: Server, text: str) -> None:
        self.connection = connection
        self.outer = cast("RunningStatement | None", task.stopper)
        self._text = text
        self.server = server
        fan_out = task.fan_out
        self.deadline = fan_out.deadline
        self._pool = fan_out.owner.pool
        proxy = connection.connection
        self._dbapi_connection: Any = proxy.dbapi_connection
        self._socket = kept_descriptor_of(proxy)
        self._key = server.key_of(self._dbapi_connection)
        self._lock = threading.Lock()
        if self.deadline != math.inf:
            self._watch = self._pool.watcher.at(self.deadline + STOP_AFTER, self._begin)

    def abandon(self) -> None:
        """Nobody waits for it any more: have it stopped. From any thread; never blocks."""
        now = self._pool.clock()
        if now < self.deadline:  # else there is a watch for it already
            with self._lock:
                if self._over or self._begun or self._abandoned_at <= now:
                    return
                self._abandoned_at = now
                watch, self._watch = self._watch, self._later(STOP_AFTER, self._begin)
            if watch is not None:
                watch.cancel()
        if self.outer is not None:
            self.outer.abandon()

    def end(self) -> None:
        """It is over: do nothing to its connection any more; wait for a stop that is under way."""
        with self._lock:
            self._over = True
            watch, self._watch = self._watch, None
            stopped = self._stopped
        if watch is not None:
            watch.cancel()
        # a connection that was cut has no later statement that a late stop could meet
        if stopped is not None and not self._cut:
            stopped.wait(STOPPING_LIMIT)

    # One that is paused and goes on takes no lock and no other watch. In this order, either the
    # watcher sees that it goes on, or it is seen here that the watcher has come.

    def pause(self) -> bool:
        """The statement is over, and the next one of its caller may go on in its place.

        Returns:
            Whether that is so; else a stop may be under way, and it is to be ended.
        """
        self.is_paused = True
        self.is_paused = not self._begun
        return self.is_paused

    def go_on(self, text: str) -> bool:
        """Be the next statement on the same connection; whether that is possible.

        Returns:
            `False` where a stop may be under way: the deadline has passed.
        """
        self.is_paused = False
        self._text = text
        return not self._begun

    def fits(self, connection: Connection) -> bool:
        """Whether it is of just this connection, as it was then."""
        return (
            connection is self.connection
            and connection.connection.dbapi_connection is self._dbapi_connection
        )

    # What the other threads do

    def _begin(self) -> None:
        """On the watcher's thread, which must not wait for a server."""
        with self._lock:
            if self._over or self._begun:
                return
            self._begun = True
            if self.is_paused:
                return
            self._watch = self._later(CUT_AFTER - STOP_AFTER, self._shut_down)
        if self.server.can_stop:
            self.server.stops.do(self._stop)

    def _stop(self) -> None:
        """On the stopper's thread."""
        with self._lock:
            if self._over or self._cut:
                return
            self._sent = True
            stopped = self._stopped = threading.Event()
        try:
            self.server.stop(
                self._dbapi_connection,
                self._key,
                pool=self.connection.engine.pool,
                socket=self._socket,
                later=self._later,
            )
            self._sure = True
        except Exception as error:
            log.warning(
                "could not stop a statement in the database (%s: %s): %s",
                type(error).__name__,
                str(error).strip(),
                first_line(self._text),
            )
        finally:
            stopped.set()

    def _shut_down(self) -> None:
        """On the watcher's thread."""
        with self._lock:
            if self._over or self._socket is None:
                return
            self._cut = True
            self._socket.shut_down()

    def _later(self, seconds: float, action: Callable[[], None]) -> Watch:
        return self._pool.watcher.at(self._pool.clock() + seconds, action)

    # What became of it

    def __str__(self) -> str:
        return first_line(self._text)

    @property
    def was_cut(self) -> bool:
        """Whether its connection was cut."""
        return self._cut

    @property
    def was_touched(self) -> bool:
        """Whether the server was told to stop it, or its connection was cut."""
        return self._sent or self._cut

    def is_clean(self, error: BaseException) -> bool:
        """Whether its connection may be used again.

        Args:
            error: what it has ended with.
        """
        if not self.was_touched:
            return True
        if self._cut or not self._sure:
            return False
        # its server's own limit came first: a stop that comes between statements hits none
        return self.server.was_stopped(error) or self.server.ran_too_long(error)

    def accounts_for(self, error: BaseException) -> bool:
        """Whether a DBAPI error has come of the deadline, or of its having been abandoned."""
        if self._cut:
            return isinstance(error, self.connection.dialect.loaded_dbapi.Error)
        if self._sent or self._pool.clock() >= self.deadline:
            return self.server.was_stopped(error) or self.server.ran_too_long(error)
        return False

    def exceeded(self) -> DeadlineExceeded:
        """What to tell its task."""
        what = "its connection was cut" if self._cut else "the statement was stopped"
        now = self._pool.clock()
        if self._abandoned_at < self.deadline:
            why = f"The task was abandoned {now - self._abandoned_at:.1f} s ago"
        else:
            why = f"The deadline passed {now - self.deadline:.1f} s ago"
        where = " since the database did not answer" if self._cut else " in the database"
        return DeadlineExceeded(f"{why}; {what}{where}: {first_line(self._text)}")


def first_line(text: str) -> str:
    """The first line of a statement that says something, as far as it can be shown."""
    line = text.strip().partition("\n")[0].rstrip()
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
