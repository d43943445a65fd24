"""StatementTask: what is asked of a session, done by the session but for the waiting for rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, cast
from weakref import WeakSet, ref

from greenlet import GreenletExit, getcurrent, greenlet
from greenlet import error as GreenletError  # noqa: N812 - a class
from sqlalchemy import Connection, CursorResult, Engine, Executable, Result, event
from sqlalchemy.orm import ORMExecuteState, Session, scoped_session

from commonpool.ext.sqlalchemy.call import StatementCall, name_of
from commonpool.ext.sqlalchemy.engines import has_one_connection
from commonpool.ext.sqlalchemy.finding import check_engine, found_session
from commonpool.ext.sqlalchemy.replicas import MAY_BE_STALE, Replica, replica_for
from commonpool.ext.sqlalchemy.sessions import (
    check_belongs_here,
    claim,
    explain_loss,
    others_listen,
    own_connection,
    own_options,
    reason_of_session,
)
from commonpool.ext.sqlalchemy.snapshots import (
    ENOUGH,
    SHARED,
    SharedSnapshot,
    check_can_share,
    close_snapshots,
    snapshot_of,
)
from commonpool.ext.sqlalchemy.stand import Stand, stand_for
from commonpool.ext.sqlalchemy.statements import examine
from commonpool.ext.sqlalchemy.stats import Reason, count
from commonpool.greenlets import ActsForItsParent, NativeThreadLocal, native_calls
from commonpool.staged import Call, Progress, StagedTask


class StatementTask(StagedTask):
    """What is asked of a session, done by the session itself but for the waiting for rows.

    Guarantees:
        All of it but the calls of the database runs on the thread that asked for it, once, in its
        order among the others, in a greenlet that is left while a call is being made.
        What must not leave the session's own connection runs there, when all before it is done.
        Whoever lets go of it, on whatever thread, its greenlet ends on its own.

    Args:
        fn: the statement or the bound method: what was asked for.
        ask: asks a session for it.
        session: whose it is; `None` to be told by `configure`, or found by `prepare`.
    """

    def __init__(
        self,
        fn: Any,
        ask: Callable[[Session], Any],
        *,
        session: Session | scoped_session[Any] | None = None,
    ) -> None:
        super().__init__(fn)
        self._ask = ask
        self._session = session
        self._at_home: Reason | None = None
        self._asked_here: Reason | None = None  # why it has no greenlet of its own
        self._shares_snapshot = False
        self._may_be_stale: bool | None = None
        self._greenlet: StatementGreenlet | None = None
        self._let_go = _left.let_go

    def __del__(self) -> None:
        # A greenlet that is freed by another thread is left to its own thread's next switch, where
        # it takes the place of what is being switched: a result, or an error (greenlet up to 3.5).
        if self._greenlet is not None and _left.let_go is not self._let_go:
            self._let_go.append(self._greenlet)

    @property
    def name(self) -> str:
        """The first line of the statement, or the method."""
        return name_of(self.fn) if isinstance(self.fn, Executable) else super().name

    @property
    def session(self) -> Session:
        """Whose it is."""
        assert isinstance(self._session, Session)  # noqa: S101 - `prepare` has seen to it
        return self._session

    @property
    def given_session(self) -> Session | scoped_session[Any] | None:
        """What was given for its session."""
        return self._session

    def ask(self, session: Session) -> Any:
        """Ask a session, which does all of it here; its answer."""
        return self._ask(session)

    def configure(self, settings: dict[str, Any]) -> None:
        """Take the session that `run_in_parallel` was given, unless it has its own; the snapshot.

        Raises:
            ValueError: there is no such snapshot.
        """
        if self._session is None:
            self._session = settings["session"]
        snapshot = settings["snapshot"]
        if snapshot not in (None, SHARED):
            raise ValueError(f"snapshot must be 'shared' or None, got {snapshot!r:.40}")
        self._shares_snapshot = snapshot is not None

    def prepare(self) -> None:
        """Have its session ask here about its statements.

        Raises:
            TypeError: it has no session, or one that cannot be used so.
            WrongThread: its session belongs to the caller of the task that this is.
        """
        session = self._session = found_session(self._session, self)
        claim(session)
        listen_to(session)
        self._asked_here = None if not native_calls else reason_for_this_greenlet(session)
        if self._asked_here is not None and self._shares_snapshot:
            raise ValueError(
                f"snapshot='shared' cannot be kept: {self.name} has to run on the session's own "
                f"connection ({self._asked_here})."
            )

    def _advance(self) -> Call | Progress:
        self._let_go.clear()
        here = self._greenlet
        if here is None and self._asked_here is not None:
            return self._advance_here(self._asked_here)
        if here is None:
            here = self._greenlet = StatementGreenlet(self)
        here.parent = getcurrent()
        try:
            progress = go_on(here)
        except BaseException as error:
            explain_loss(error, self.session)
            self.error = error
            self._greenlet = None  # which refers to this task in turn
            return Progress.DONE
        if here.dead:
            self.value = progress
            self._greenlet = None
            return Progress.DONE
        return cast("Call | Progress", progress)

    def _advance_here(self, reason: Reason) -> Progress:
        """Do all of it here, when its turn has come."""
        if self._at_home is None:
            self._at_home = reason
            count(reason)
            return Progress.IN_TURN
        try:
            self.value = self._ask(self.session)
        except BaseException as error:
            explain_loss(error, self.session)
            self.error = error
        return Progress.DONE

    def function(self) -> Callable[[], Any]:
        """What the greenlet runs: it asks the session, which comes back to `route`."""
        return partial(self._ask, self.session)

    @property
    def is_at_home(self) -> bool:
        """Whether it stays on the session's own connection already."""
        return self._at_home is not None

    def reason_to_stay(self, state: ORMExecuteState, bind: Engine | Connection) -> Reason | None:
        """Why a statement has to stay on the session's own connection; then all that follow do.

        Args:
            state: what the session is asked for.
            bind: what it would be executed on.
        """
        if self._at_home is not None:
            return self._at_home
        check_engine(bind)
        reason = reason_of_session(state.session, bind) or examine(
            state.statement, state.execution_options
        )
        if self._shares_snapshot:
            self._check_snapshot(state.session, bind, reason)
        if reason is not None:
            self._at_home = reason
            count(reason)
        option = state.execution_options.get(MAY_BE_STALE)
        if option is not None:  # what its answer needs further says nothing of it
            self._may_be_stale = bool(option)
        return reason

    def _check_snapshot(
        self, session: Session, bind: Engine | Connection, reason: Reason | None
    ) -> None:
        check_can_share(bind.engine)
        if reason is None:
            return
        own = own_connection(session, bind.engine) if isinstance(bind, Engine) else bind
        if own is None or own.get_isolation_level() not in ENOUGH:
            raise ValueError(
                f"snapshot='shared' cannot be kept: {self.name} has to run on the session's own "
                f"connection ({reason}), whose transaction sees a new state with every statement. "
                "Begin it with session.connection(execution_options={'isolation_level': "
                "'REPEATABLE READ'})."
            )

    def snapshot(self, engine: Engine, options: dict[str, Any]) -> SharedSnapshot | None:
        """The snapshot that its calls are to see, if one was asked for."""
        if not self._shares_snapshot:
            return None
        return snapshot_of(self.fan_out, self.session, engine, options)

    def replica(self, session: Session, engine: Engine) -> Replica | None:
        """The replica that is to serve its next call, if one is."""
        if self._shares_snapshot:  # it is the primary's
            return None
        return replica_for(engine, session, self._may_be_stale)

    def close(self) -> None:
        """Let go of the greenlet: what it was about to do is not done."""
        if self._shares_snapshot:
            close_snapshots(self.fan_out)
        here, self._greenlet = self._greenlet, None
        if here is not None and not here.dead:
            here.parent = getcurrent()
            with suppress(BaseException):
                here.throw(GreenletExit)


class Left(NativeThreadLocal):
    """What is left to do to a thread's greenlets."""

    def __init__(self) -> None:
        # Those that other threads have let go of.
        self.let_go: deque[StatementGreenlet] = deque()


_left = Left()


class StatementGreenlet(greenlet, ActsForItsParent):
    """Where the session works on a statement, in a copy of the caller's context.

    Nothing in the frames of a greenlet that was left refers to it or to its task, over a call that
    leaves it: garbage collection does not look into them, and who drops a future gets rid of all.
    """

    def __init__(self, task: StatementTask) -> None:
        super().__init__(task.function())
        self.task = ref(task)
        self.gr_context = copy_context()


def go_on(here: StatementGreenlet) -> Any:
    """Switch to a greenlet until it is left or done; what it gives.

    What gevent throws into this greenlet, while that one waits for the hub, is meant for that one.
    """
    resume: Callable[[], Any] = here.switch
    try:
        while True:
            try:
                return resume()
            except BaseException as error:
                if here.dead or isinstance(error, GreenletError):
                    raise
                resume = partial(here.throw, error)
    finally:
        del resume, here  # the error's traceback leads to this frame


def leave(progress: Call | Progress) -> None:
    """Leave the greenlet that runs now, until its task goes on."""
    parent = getcurrent().parent
    assert parent is not None  # noqa: S101 - only a thread's first greenlet has none
    parent.switch(progress)


_listening: WeakSet[Session] = WeakSet()


def listen_to(session: Session) -> None:
    """Have a session ask here about its statements, from now on."""
    if session not in _listening:
        _listening.add(session)
        event.listen(session, "do_orm_execute", route)


def route(state: ORMExecuteState) -> Result[Any] | None:
    """A session is to execute a statement: have it do so through its stand, if it may leave."""
    session = state.session
    if not is_asking(session):
        check_belongs_here(session)  # before it meddles with what its caller is about
        return None
    if isinstance(state.bind_arguments.get("bind"), Stand):
        return None
    bind = session.get_bind(**state.bind_arguments)
    if stays(state, bind):
        return None
    stand = stand_for(session, cast("Engine", bind), execute)
    if others_listen(session):
        begin(stand)
    return state.invoke_statement(bind_arguments={"bind": stand})


def asking() -> StatementTask | None:
    """The task in whose greenlet this runs, if it is one."""
    here = getcurrent()
    return here.task() if isinstance(here, StatementGreenlet) else None


def reason_for_this_greenlet(session: Session) -> Reason | None:
    """Why a session has to be asked by the greenlet that it belongs to, under gevent; or `None`."""
    if any(listener is not route for listener in session.dispatch.do_orm_execute):
        return Reason.GREENLET
    if isinstance(session.bind, Engine) and has_one_connection(session.bind):
        return Reason.ONE_CONNECTION
    return None


def is_asking(session: Session) -> bool:
    """Whether this runs in the greenlet of a task that asks this session."""
    task = asking()
    return task is not None and task.given_session is session


def stays(state: ORMExecuteState, bind: Engine | Connection) -> bool:
    """Whether a statement has to stay on its session's own connection; when its turn came."""
    task = asking()
    if task is None:
        return True
    was_at_home = task.is_at_home
    reason = task.reason_to_stay(state, bind)
    del task
    if reason is not None and not was_at_home:
        leave(Progress.IN_TURN)
    return reason is not None


def new_call(
    stand: Stand, statement: Executable, parameters: Any, options: dict[str, Any]
) -> StatementCall:
    """The call of the task in whose greenlet this runs."""
    task = asking()
    assert task is not None  # noqa: S101 - it was asked before
    own = {**stand.options, **own_options(stand.session, stand.real)}
    return StatementCall(
        stand,
        statement,
        parameters,
        options,
        thread=task.thread,
        connection_options=own,
        snapshot=task.snapshot(stand.real, own),
        replica=task.replica(stand.session, stand.real),
    )


def begin(stand: Stand) -> None:
    """Have a session with `after_begin` listeners take the stand for its connection.

    They are called for that, and get at the session's own connection, which is begun first: for
    workers' connections there is `prepare_connection`.
    """
    stand.begins_as = stand.own_connection()
    try:
        stand.session.connection(bind_arguments={"bind": stand})
    finally:
        stand.begins_as = None


def execute(
    stand: Stand, statement: Executable, parameters: Any, options: dict[str, Any]
) -> CursorResult[Any]:
    """Execute a statement for a stand: leave the greenlet until somebody has done it."""
    if not is_asking(stand.session):
        return stand.own_connection().execute(statement, parameters, execution_options=options)
    call = new_call(stand, statement, parameters, options)
    leave(call)
    failure = call.failure
    if failure is not None:
        try:
            raise failure
        finally:
            del failure, call  # the error's traceback leads to this frame
    if call.value is None or call.is_stale():
        return call.make_late()
    return call.value
