"""Offloaded calls on a Dask cluster: a real scheduler and two real workers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from commonpool import CommonPool, DeadlineExceeded, current_executor, run_in_parallel
from commonpool.ext.offload import OffloadError, OffloadUnavailable, offload
from commonpool.ext.offload import cluster as cluster_module
from stack.native.ports import answers, free_port
from tests.helpers import has_ended, wait_until
from tests.offload import work
from tests.offload.conftest import Folder, children_of

MakePool = Callable[..., CommonPool]

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT = 60.0  # seconds: Dask imports much

pytestmark = [
    pytest.mark.timeout(180),
    # of distributed's own threads and sockets, when its client is closed
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Cluster:
    """A scheduler and workers, each a process with one thread."""

    def __init__(self, folder: Path, port: int, **variables: str) -> None:
        self.folder = folder
        self.port = port
        self.variables = variables
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
        )
        wait_until(lambda: answers(self.port), START_LIMIT)
        self.workers = [
            self._start(
                *("dask_worker", f"tcp://127.0.0.1:{self.port}", "--host", "127.0.0.1"),
                *("--nthreads", "1", "--no-nanny", "--no-dashboard"),
            )
            for _ in range(2)
        ]

    @property
    def target(self) -> str:
        """What commonpool is to be told of it."""
        return f"dask://127.0.0.1:{self.port}"

    def _start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        number = len(self.processes)
        with (self.folder / f"{command}-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command}", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDEVMODE": "", **self.variables},
                cwd=self.folder,
            )
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@contextmanager
def running(folder: Path, port: int | None = None, **variables: str) -> Iterator[Cluster]:
    cluster = Cluster(folder, port or free_port(), **variables)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """For tests that leave it as it is."""
    with running(tmp_path_factory.mktemp("dask")) as made:
        yield made


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """For a test that kills some of it."""
    with running(tmp_path) as made:
        yield made


def both_workers(cluster: Cluster) -> set[int]:
    """Wait until both workers take calls."""

    def seen() -> set[int]:
        return set(run_in_parallel([offload(work.pid)() for _ in range(8)]))

    wanted = {worker.pid for worker in cluster.workers}
    return wait_until(lambda: (found := seen()) == wanted and found, START_LIMIT)


def nothing_waits(cluster: Cluster) -> None:
    """Wait until no worker has a call that it has not begun: what is cancelled gets there late."""
    address = f"tcp://127.0.0.1:{cluster.port}"
    with Client(address, set_as_default=False) as client:
        wait_until(lambda: client.run(work.waiting_here) == dict.fromkeys(client.nthreads(), 0))


def test_results_errors_and_equal_calls_are_as_on_this_machine(
    make_pool: MakePool, cluster: Cluster
):
    pool = make_pool(offload=cluster.target)
    both_workers(cluster)
    calls = [offload(work.add)(1), work.doubled(4), offload("a-b".split)("-"), os.getpid]
    assert run_in_parallel(calls) == [2, 8, ["a", "b"], os.getpid()]
    assert current_executor().submit(offload(work.add), 1, b=2).result() == 3
    assert list(current_executor().map(offload(work.add), range(5))) == [1, 2, 3, 4, 5]
    with pytest.raises(KeyError, match="gone") as caught:
        run_in_parallel([offload(work.add)(1), offload(work.fails)("gone")])
    assert caught.value.__notes__ == [
        "in task 2 of 2 of a run_in_parallel: tests.offload.work.fails"
    ]
    assert not children_of(os.getpid())
    assert (pool.stats().workers, pool.stats().offloaded) == (0, 0)


def test_equal_calls_are_not_merged(make_pool: MakePool, cluster: Cluster, folder: Folder):
    make_pool(offload=cluster.target)
    both_workers(cluster)
    call = offload(work.begun)(str(folder), "it")
    run_in_parallel([call, call, call])
    run_in_parallel([call])
    assert len(folder.order()) == 4


def test_at_the_deadline_what_waits_there_is_cancelled_there(
    make_pool: MakePool, cluster: Cluster, folder: Folder
):
    pool = make_pool(offload=cluster.target)
    both_workers(cluster)
    calls = [offload(work.held)(str(folder), str(n)) for n in range(4)]
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"Running: tests\.offload\.work\.held"):
        run_in_parallel(calls, timeout=2.0)
    assert time.monotonic() - begun < 30
    wait_until(lambda: pool.stats().offloaded == 0)
    assert len(folder.order()) <= 2
    nothing_waits(cluster)
    folder.open()  # those that run cannot be stopped
    assert run_in_parallel([offload(work.add)(n) for n in range(4)]) == [1, 2, 3, 4]
    assert len(folder.order()) <= 2  # the others never began


def test_what_a_future_that_is_cancelled_waits_for_never_begins(
    make_pool: MakePool, cluster: Cluster, folder: Folder
):
    make_pool(offload=cluster.target)
    both_workers(cluster)
    executor = current_executor()
    futures = [executor.submit(offload(work.held)(str(folder), str(n))) for n in range(3)]
    folder.wait_for(2)
    begun = {name for name, _ in folder.order()}
    (waiting,) = {"0", "1", "2"} - begun
    assert futures[int(waiting)].cancel()
    wait_until(lambda: executor.pool.stats().offloaded == 2)
    nothing_waits(cluster)
    folder.open()
    assert {futures[int(name)].result() for name in begun} == begun
    assert run_in_parallel([offload(work.add)(n) for n in range(4)]) == [1, 2, 3, 4]
    assert len(folder.order()) == 2


def test_one_worker_of_two_is_killed_during_the_run_and_all_results_arrive(
    make_pool: MakePool, own_cluster: Cluster, folder: Folder
):
    make_pool(offload=own_cluster.target)
    both_workers(own_cluster)
    executor = current_executor()
    names = [str(n) for n in range(12)]
    futures = [executor.submit(offload(work.held)(str(folder), name)) for name in names]
    victim, other = own_cluster.workers
    begun = dict(folder.wait_for(2))
    assert set(begun.values()) == {victim.pid, other.pid}
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: has_ended(victim.pid))
    folder.open()
    assert [future.result() for future in futures] == names
    lost = next(name for name, pid in begun.items() if pid == victim.pid)
    assert [pid for name, pid in folder.order() if name == lost] == [victim.pid, other.pid]


def test_a_scheduler_that_is_lost_during_a_call_is_a_clear_error(
    make_pool: MakePool, own_cluster: Cluster, folder: Folder
):
    make_pool(offload=own_cluster.target)
    both_workers(own_cluster)
    future = current_executor().submit(offload(work.held)(str(folder), "it"))
    folder.wait_for(1)
    own_cluster.scheduler.kill()
    with pytest.raises(OffloadUnavailable, match=r"was lost with the Dask scheduler tcp://127"):
        future.result()


def test_a_cluster_that_is_away_is_an_error_at_once_and_is_not_asked_for_every_call(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
):
    port = free_port()
    pool = make_pool(offload=f"dask://127.0.0.1:{port}")
    with caplog.at_level(logging.WARNING, "commonpool"):
        for _ in range(3):
            with pytest.raises(
                OffloadUnavailable, match=rf"tcp://127\.0\.0\.1:{port} is away .*asked again in"
            ):
                run_in_parallel([offload(work.add)(1)], timeout=30)
    said = [record.message for record in caplog.records if "is away" in record.message]
    assert len(said) == 1
    assert pool.stats().offloaded == 0


def test_a_cluster_that_does_not_answer_is_an_error_within_the_deadline(make_pool: MakePool):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        make_pool(offload=f"dask://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(OffloadUnavailable, match="has not answered"):
            run_in_parallel([offload(work.add)(1)], timeout=2.0)
        assert time.monotonic() - begun < 10


def test_a_cluster_that_has_come_is_used(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cluster_module, "BACK_OFF", 0.0)
    port = free_port()
    make_pool(offload=f"dask://127.0.0.1:{port}")
    with pytest.raises(OffloadUnavailable):
        run_in_parallel([offload(work.add)(1)])
    with running(tmp_path, port) as cluster:
        both_workers(cluster)
        assert run_in_parallel([offload(work.add)(1)]) == [2]


def test_while_the_cluster_is_away_processes_of_this_machine_may_run_what_it_would(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
):
    make_pool(
        offload=f"dask://127.0.0.1:{free_port()}", offload_fallback="local", offload_workers=1
    )
    with caplog.at_level(logging.WARNING, "commonpool"):
        pids = run_in_parallel([offload(work.pid)()] * 3)
    assert set(pids) == children_of(os.getpid())
    assert len([record for record in caplog.records if "is away" in record.message]) == 1


def test_what_kills_the_workers_that_run_it_is_an_error(make_pool: MakePool, tmp_path: Path):
    with running(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster:
        make_pool(offload=cluster.target)
        both_workers(cluster)
        with pytest.raises(OffloadError, match=r"work\.dies has no result: .*workers died"):
            run_in_parallel([offload(work.dies)("exit")])
        assert run_in_parallel([offload(work.add)(1)]) == [2]
