"""What type checkers make of the public names. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, assert_type

from commonpool import (
    CommonPoolMiddleware,
    DeadlineExceeded,
    OwnerExecutor,
    PoolConfig,
    PoolStats,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from commonpool.ext.offload import offload
from commonpool.testing import inline, reset

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def count() -> int:
    return 1


def fan_outs(tasks: Iterable[Callable[[], str]]) -> None:
    assert_type(run_in_parallel([count, count]), list[int])
    assert_type(run_in_parallel(tasks, timeout=2), list[str])
    assert_type(run_in_parallel({"a": count}, timeout=0.5), dict[str, int])
    assert_type(run_in_parallel({1: count}), dict[int, int])


@offload
def length(text: str) -> int:
    return len(text)


def offloaded() -> None:
    assert_type(run_in_parallel([length("a"), offload(count)()]), list[int])
    length(1)  # type: ignore[arg-type]


def executors(executor: OwnerExecutor) -> None:
    standard: ThreadPoolExecutor = executor
    narrow: Executor = current_executor()
    future: Future[int] = executor.submit(count)
    executor.background(print, "later", flush=True)
    with executor.task_group(timeout=2.0) as group:
        other: Future[Any] = group.submit(pow, 2, 3, mod=5)
    with executor:
        results = executor.map(str, [1, 2], timeout=1)
    assert_type(executor.deadline, float)
    assert_type(executor.pool.stats(), PoolStats)
    del standard, narrow, future, other, results


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [str(environ["commonpool.executor"]).encode()]


def middlewares() -> None:
    config = PoolConfig(max_workers=4, overflow="reject", deadline=2)
    wrapped: WSGIApplication = CommonPoolMiddleware(application, config)
    CommonPoolMiddleware(wrapped)
    PoolConfig.from_env({"COMMONPOOL_MAX_WORKERS": "4"})
    PoolConfig.from_mapping({"max_workers": 4, "overflow": "reject"})
    PoolConfig(overflow="drop")  # type: ignore[arg-type]
    config.max_workers = 8  # type: ignore[misc]


def errors(late: DeadlineExceeded, cancelled: TaskCancelled) -> None:
    timeout: TimeoutError = late
    del timeout, cancelled


def tests() -> None:
    with inline() as pool:
        assert_type(pool.stats(), PoolStats)
    reset()
