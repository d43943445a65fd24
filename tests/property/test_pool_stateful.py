"""The pool under random use: whatever is done, nothing is left, lost, run twice or miscounted."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import wait

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from commonpool import (
    CommonPoolError,
    DeadlineExceeded,
    OwnerExecutor,
    PoolConfig,
    PoolSaturated,
    TaskCancelled,
    process,
    run_in_parallel,
)
from commonpool.owner import current
from tests.helpers import Gate, wait_until
from tests.property.examples import EXAMPLES


class Expected(Exception):
    """What a task raises on purpose."""


def as_request(executor, fn):
    token = current.set(executor)
    try:
        return fn()
    finally:
        current.reset(token)


def nothing_left(pool):
    stats = pool.stats()
    return (
        stats.queued == stats.owners_waiting == stats.abandoned == 0 and stats.idle == stats.workers
    )


# A tree: a number is a leaf that returns it, "fail" one that raises, a list a fan-out of its
# own, a pair the way in which it is done.
ways = st.sampled_from(["parallel", "group", "submit", "wait", "map", "patient"])
leaves = st.one_of(st.integers(0, 9), st.just("fail"))
trees = st.recursive(
    leaves, lambda inner: st.tuples(ways, st.lists(inner, min_size=1, max_size=5)), max_leaves=25
)


class Run:
    """Runs a tree, and counts how often each leaf was run."""

    def __init__(self, executor):
        self.executor = executor
        self.lock = threading.Lock()
        self.leaves: Counter[tuple[int, ...]] = Counter()

    def tree(self, tree, path=()):
        if tree == "fail" or isinstance(tree, int):
            with self.lock:
                self.leaves[path] += 1
            if tree == "fail":
                raise Expected(path)
            return tree
        way, children = tree
        tasks = [
            lambda child=child, n=n: self.tree(child, (*path, n))
            for n, child in enumerate(children)
        ]
        return sum(getattr(self, way)(tasks))

    def parallel(self, tasks):
        return run_in_parallel(tasks)

    def patient(self, tasks):
        return run_in_parallel(tasks, timeout=60)

    def group(self, tasks):
        with self.executor.task_group() as group:
            futures = [group.submit(task) for task in tasks]
        return [future.result() for future in futures]

    def submit(self, tasks):
        return [future.result() for future in [self.executor.submit(task) for task in tasks]]

    def wait(self, tasks):
        futures = [self.executor.submit(task) for task in tasks]
        wait(futures)
        return [future.result() for future in futures]

    def map(self, tasks):
        return list(self.executor.map(lambda task: task(), tasks))


def sequentially(tree):
    if tree == "fail":
        raise Expected
    return tree if isinstance(tree, int) else sum(sequentially(child) for child in tree[1])


@given(
    trees=st.lists(trees, min_size=1, max_size=4),
    workers=st.integers(1, 4),
    queue=st.integers(1, 8),
    cap=st.one_of(st.none(), st.just(1)),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_tree_of_tasks_gives_what_it_gives_sequentially(trees, workers, queue, cap):
    process.reset()
    process.configure(PoolConfig(max_workers=workers, max_queue=queue, max_workers_per_request=cap))
    pool = process.current_pool()
    outcomes: list[object] = [None] * len(trees)
    runs = []

    def request(number, tree):
        executor = OwnerExecutor()
        run = Run(executor)
        runs.append(run)
        try:
            outcomes[number] = as_request(executor, lambda: run.tree(tree))
        except Expected:
            outcomes[number] = Expected
        except BaseException as error:
            outcomes[number] = error
        finally:
            executor.shutdown()
            executor.end()

    threads = [
        threading.Thread(target=request, args=(number, tree)) for number, tree in enumerate(trees)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), f"a request hangs: {pool}"
    for tree, outcome in zip(trees, outcomes, strict=True):
        try:
            assert outcome == sequentially(tree)
        except Expected:
            assert outcome is Expected
    for run in runs:
        assert set(run.leaves.values()) <= {1}, "a task was run twice"
    wait_until(lambda: nothing_left(pool))
    assert pool.stats().workers <= workers
    process.reset()


class PoolMachine(RuleBasedStateMachine):
    """Submits, cancels, opens gates, ends requests and closes in any order."""

    @initialize(
        workers=st.integers(1, 3),
        queue=st.integers(1, 5),
        overflow=st.sampled_from(["caller_runs", "reject"]),
        requests=st.integers(1, 3),
    )
    def start(self, workers, queue, overflow, requests):
        process.reset()
        process.configure(PoolConfig(max_workers=workers, max_queue=queue, overflow=overflow))
        self.pool = process.current_pool()
        self.requests = [OwnerExecutor() for _ in range(requests)]
        self.ended: set[OwnerExecutor] = set()
        self.futures = []
        self.gates = []
        self.ran: Counter[int] = Counter()
        self.submitted = 0
        self.rejected = 0

    def task(self, fail):
        number = self.submitted
        self.submitted += 1

        def run():
            self.ran[number] += 1
            if fail:
                raise Expected
            return number

        return number, run

    @rule(which=st.integers(0, 2), fail=st.booleans(), background=st.booleans())
    def submit(self, which, fail, background):
        executor = self.requests[which % len(self.requests)]
        number, task = self.task(fail)
        try:
            future = (executor.background if background else executor.submit)(task)
        except PoolSaturated:
            self.rejected += 1
        else:
            self.futures.append((number, fail, future))

    @rule(which=st.integers(0, 2))
    def hold_a_worker(self, which):
        """A task that stays at its gate; only where a worker is sure to take it."""
        executor = self.requests[which % len(self.requests)]
        stats = self.pool.stats()
        if stats.busy or stats.queued or stats.closed or executor in self.ended:
            return
        gate = Gate()
        self.gates.append(gate)
        executor.submit(gate)
        wait_until(lambda: gate.inside)

    @rule()
    def open_the_gates(self):
        for gate in self.gates:
            gate.open()

    @rule(which=st.integers(0, 2), size=st.integers(0, 8), fail=st.booleans())
    def fan_out(self, which, size, fail):
        executor = self.requests[which % len(self.requests)]
        numbered = [self.task(fail=fail and n == size // 2) for n in range(size)]
        try:
            results = as_request(executor, lambda: run_in_parallel([task for _, task in numbered]))
        except Expected:
            assert fail
        except PoolSaturated:
            self.rejected += 1
            assert not any(self.ran[number] for number, _ in numbered)
        else:
            assert results == [number for number, _ in numbered]

    @rule(which=st.integers(0, 2), size=st.integers(1, 6), micros=st.integers(0, 1000))
    def fan_out_with_little_time(self, which, size, micros):
        executor = self.requests[which % len(self.requests)]
        numbered = [self.task(fail=False) for _ in range(size)]
        try:
            results = as_request(
                executor,
                lambda: run_in_parallel([task for _, task in numbered], timeout=micros / 1e6),
            )
        except (DeadlineExceeded, PoolSaturated) as error:
            self.rejected += isinstance(error, PoolSaturated)
        else:
            assert results == [number for number, _ in numbered]

    @rule(which=st.integers(0, 2), size=st.integers(0, 6), fail=st.booleans())
    def task_group(self, which, size, fail):
        executor = self.requests[which % len(self.requests)]
        numbered = [self.task(fail=fail and n == size // 2) for n in range(size)]
        futures = []
        try:
            with executor.task_group() as group:
                futures += [group.submit(task) for _, task in numbered]
        except Expected:
            assert fail
        except PoolSaturated:
            self.rejected += 1
        else:
            assert [future.result() for future in futures] == [number for number, _ in numbered]
        assert all(future.done() for future in futures)

    # Which futures there are depends on who came first, so they are not drawn, but counted off.
    @rule(which=st.integers(0, 50))
    def cancel(self, which):
        if self.futures:
            number, _, future = self.futures[which % len(self.futures)]
            if future.cancel():
                assert future.cancelled()
                assert not self.ran[number]

    @rule(which=st.integers(0, 50))
    def read(self, which):
        if self.futures:
            number, fail, future = self.futures[which % len(self.futures)]
            self.check(number, fail, future)

    def check(self, number, fail, future):
        try:
            assert future.result() == number
        except Expected:
            assert fail
        except (TaskCancelled, CommonPoolError):
            return
        assert self.ran[number] == 1

    @rule(which=st.integers(0, 2))
    def end_a_request(self, which):
        executor = self.requests[which % len(self.requests)]
        executor.end()
        self.ended.add(executor)

    @rule()
    def close(self):
        self.open_the_gates()
        self.pool.close(10)

    @invariant()
    def the_bounds_hold(self):
        if hasattr(self, "pool"):
            stats = self.pool.stats()
            assert stats.workers <= stats.max_workers
            assert stats.queued <= stats.max_queue
            assert 0 <= stats.abandoned <= stats.busy
            assert 0 <= stats.idle <= stats.workers
            assert set(self.ran.values()) <= {1}, "a task was run twice"

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        self.open_the_gates()
        for number, fail, future in self.futures:
            self.check(number, fail, future)
        wait_until(lambda: nothing_left(self.pool))
        for executor in self.requests:
            executor.end()
        stats = self.pool.stats()
        assert (stats.rejected > 0) == (self.rejected > 0)
        run = stats.run_by_workers + stats.run_by_callers
        assert run == sum(self.ran.values()) + len(self.gates)
        process.reset()


PoolMachine.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None
)
test_pool_under_random_use = PoolMachine.TestCase
