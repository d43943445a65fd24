"""Executor: Flask-Executor's, whose tasks are background work of the shared pool."""

from __future__ import annotations

import concurrent.futures
import math
import os
import re
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from flask import Flask, current_app

from commonpool.adapters import task_of
from commonpool.ext.flask import config_of, provide_contexts
from commonpool.ext.flask_executor.contexts import InContext, WithValuesOfG, app_context_of
from commonpool.ext.flask_executor.stored import FutureCollection
from commonpool.owner import current_executor, submit_in_background
from commonpool.pool import CommonPool
from commonpool.process import configure, current_pool
from commonpool.staged import StagedFuture, StagedTask
from commonpool.task import Owner, TaskFuture
from commonpool.threadless import ThreadlessTask

Callback = Callable[[Future[Any]], object]

_KINDS = {"thread": ThreadPoolExecutor, "process": ProcessPoolExecutor}


class Executor(concurrent.futures.Executor):
    """Runs functions after their request has been answered, or beside it.

    Guarantees:
        A task finds `current_app`, `request`, `session` as where it was submitted, and in `g` a
        copy of what stood there; its app context is its own, and so is its `db.session`, which is
        closed when the task is done.
        Its tasks are run by workers of the shared pool, in turn with its requests; no more than
        `EXECUTOR_MAX_WORKERS` at a time. Who waits for what no worker has started runs it itself.
        What was submitted is drained before the process ends.

    Args:
        app: the application; or call `init_app` later.
        name: of this executor, if there are several: its settings begin with it in capitals, and
            it is ``app.extensions[name + "executor"]``.

    Raises:
        ValueError: the name has other characters than letters, digits and underscores; or a
            setting is wrong.
    """

    def __init__(self, app: Flask | None = None, name: str = "") -> None:
        if re.fullmatch(r"\w*", name) is None:
            raise ValueError("Executor names may only contain letters, numbers or underscores")
        self.app = app
        self.name = name
        self.futures = FutureCollection()
        prefix = f"{name.upper()}_" if name else ""
        self.EXECUTOR_TYPE = f"{prefix}EXECUTOR_TYPE"
        self.EXECUTOR_MAX_WORKERS = f"{prefix}EXECUTOR_MAX_WORKERS"
        self.EXECUTOR_FUTURES_MAX_LENGTH = f"{prefix}EXECUTOR_FUTURES_MAX_LENGTH"
        self.EXECUTOR_PROPAGATE_EXCEPTIONS = f"{prefix}EXECUTOR_PROPAGATE_EXCEPTIONS"
        self.EXECUTOR_PUSH_APP_CONTEXT = f"{prefix}EXECUTOR_PUSH_APP_CONTEXT"
        self._apps: list[Flask] = []
        self._kind: type[concurrent.futures.Executor] = concurrent.futures.Executor
        self._most: int | None = None
        self._owners: dict[CommonPool, Owner] = {}
        self._processes: dict[int, ProcessPoolExecutor] = {}
        self._default_done_callbacks: list[Callback] = []
        self._lock = threading.Lock()
        self._unfinished: set[Future[Any]] = set()
        self._is_shut_down = False
        if app is not None:
            self.init_app(app)

    @property  # type: ignore[misc] # a class cannot be set here
    def __class__(self) -> type:
        """What `isinstance` goes by, as with Flask-Executor: the kind of executor that it is."""
        return getattr(self, "_kind", Executor)

    def init_app(self, app: Flask) -> None:
        """Read an application's settings, and be one of its extensions.

        Raises:
            ValueError: a setting is wrong.
            ConfigError: one of the pool's own (``COMMONPOOL_...``) is.
        """
        config = app.config
        kind = config.setdefault(self.EXECUTOR_TYPE, "thread")
        if kind not in _KINDS:
            raise ValueError(f"{kind} is not a valid executor type.")
        most = number_of(app, self.EXECUTOR_MAX_WORKERS)
        length = number_of(app, self.EXECUTOR_FUTURES_MAX_LENGTH)
        config.setdefault(self.EXECUTOR_PUSH_APP_CONTEXT, True)
        propagates = is_true(config.setdefault(self.EXECUTOR_PROPAGATE_EXCEPTIONS, False))
        if length is not None:
            self.futures.max_length = length
        if propagates:
            self.add_default_done_callback(raise_its_error)
        self._kind, self._most = _KINDS[kind], most
        configure(config_of(app))
        provide_contexts()
        if app not in self._apps:
            self._apps.append(app)
        app.extensions[f"{self.name}executor"] = self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in the background.

        A query of the session here (``executor.submit(db.session.query(M).all)``) is asked on
        another connection; its objects are made when `result()` is called, on this thread.

        Returns:
            Its future.

        Raises:
            RuntimeError: the executor was shut down, or it is not clear for which application.
            TypeError: `fn` cannot be called, or is a coroutine function.
            PoolSaturated: there is no room, and the pool is to reject.
        """
        self._check_open()
        with app_context_of(self._apps):
            future = self._submit(fn, args, kwargs)
            with self._lock:
                self._unfinished.add(future)
            Future.add_done_callback(future, self._unfinished.discard)
            for callback in self._default_done_callbacks:
                Future.add_done_callback(future, callback)
        return future

    def submit_stored(
        self, future_key: Hashable, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """As `submit`, and the future is kept in `futures` under a key.

        Raises:
            ValueError: there is one under that key.
        """
        future = self.submit(fn, *args, **kwargs)
        self.futures.add(future_key, future)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **buffersize: Any,
    ) -> Iterator[Any]:
        """The results of `fn` for each of the arguments, in their order; see the standard library.

        Args:
            fn: what to call.
            iterables: its arguments.
            timeout: seconds for all of it, from now.
            chunksize: how many calls a process is given at once; threads have no use for it.
            buffersize: of Python 3.14.
        """
        self._check_open()
        settings = {"timeout": timeout, "chunksize": chunksize, **buffersize}
        if self._kind is ProcessPoolExecutor:
            return self._process_pool().map(fn, *iterables, **settings)
        return super().map(fn, *iterables, **settings)

    def job(self, fn: Callable[..., Any]) -> ExecutorJob:
        """Make a function one that submits itself; a decorator.

        Raises:
            TypeError: the executor is one of processes.
        """
        if self._kind is ProcessPoolExecutor:
            raise TypeError(
                f"Can't decorate {fn}: Executors that use multiprocessing don't support decorators"
            )
        return ExecutorJob(self, fn)

    def add_default_done_callback(self, fn: Callback) -> None:
        """Have a function called with every future that is submitted from now on, once done."""
        self._default_done_callbacks.append(fn)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more tasks. The shared pool, and other executors, go on.

        Args:
            wait: whether to wait for what was submitted.
            cancel_futures: whether to cancel what has not started.
        """
        self._is_shut_down = True
        with self._lock:
            unfinished = list(self._unfinished)
        if cancel_futures:
            for future in unfinished:
                future.cancel()
        processes = self._processes.get(os.getpid())
        if processes is not None:
            processes.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            for future in unfinished:
                with suppress(BaseException):  # theirs; who wants it asks the future
                    future.exception()

    def __repr__(self) -> str:
        return f"<Executor {self.name or 'unnamed'}: {self._kind.__name__}>"

    @property
    def _max_workers(self) -> int:  # what code reads of the standard library's
        return self._most or current_executor().pool.config.max_workers

    def _submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        if self._kind is ProcessPoolExecutor:
            return self._process_pool().submit(fn, *args, **kwargs)
        task = task_of(fn, args, kwargs)
        if isinstance(task, StagedTask):
            return current_executor().submit(fn, *args, **kwargs)
        copies_g = is_true(current_app.config.get(self.EXECUTOR_PUSH_APP_CONTEXT, True))
        if isinstance(task, ThreadlessTask):
            if copies_g:
                task = task_of(WithValuesOfG(fn), args, kwargs)
            return submit_in_background(task, self._owner())
        if copies_g:
            task.fn = WithValuesOfG(task.fn)
        task.future = BackgroundFuture(task)
        return submit_in_background(task, self._owner())

    def _owner(self) -> Owner:
        """This executor's record in the process's pool; after a fork, in the child's."""
        pool = current_pool()
        with self._lock:
            owner = self._owners.get(pool)
            if owner is None:
                owner = pool.new_background_owner(math.inf if self._most is None else self._most)
                self._owners = {pool: owner}
            return owner

    def _process_pool(self) -> ProcessPoolExecutor:
        """The processes of this one: those of another do not come along when it forks."""
        with self._lock:
            pool = self._processes.get(os.getpid())
            if pool is None:
                pool = ProcessPoolExecutor(self._most)
                self._processes = {os.getpid(): pool}
            return pool

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")


class ExecutorJob:
    """A function that submits itself.

    Args:
        executor: where to.
        fn: the function.
    """

    def __init__(self, executor: Executor, fn: Callable[..., Any]) -> None:
        self.executor = executor
        self.fn = fn

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        return self.executor.submit(self.fn, *args, **kwargs)

    def submit_stored(self, future_key: Hashable, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit_stored`."""
        return self.executor.submit_stored(future_key, self.fn, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], **kwargs: Any) -> Iterator[Any]:
        """See `Executor.map`."""
        return self.executor.map(self.fn, *iterables, **kwargs)


class BackgroundFuture(TaskFuture):
    """The future of a task of an executor."""

    def add_done_callback(self, fn: Callback) -> None:
        """Have a function called with this future when it is done, in the contexts of here."""
        super().add_done_callback(InContext(fn))


def raise_its_error(future: Future[Any]) -> None:
    """`EXECUTOR_PROPAGATE_EXCEPTIONS`: raise what a task raised, for the standard library's log."""
    if future.cancelled() or isinstance(
        future, StagedFuture
    ):  # the result of that is yet to be made
        return
    error = future.exception()
    if error is not None:
        raise error


def is_true(setting: object) -> bool:
    """Whether a setting is one of those that Flask-Executor takes for yes."""
    return str(setting).lower() in ("yes", "true", "t", "1")


def number_of(app: Flask, key: str) -> int | None:
    """What an application's setting says; `None` where it says nothing.

    Raises:
        ValueError: it is no whole number, or less than 1.
    """
    given = app.config.setdefault(key, None)
    if given is None or given == "":
        return None
    try:
        number = int(given)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ValueError(f"{key} must be a whole number, 1 or more, got {given!r:.40}")
    return number
