"""What is wrong with a run, if anything."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from stack.soak.run import Run
from stack.soak.times import AGES, EDGE, LONG_LIFE

COUNTED = ("threads", "descriptors", "tcp", "unix")
"""What no process may have more of at the end."""


def faults(run: Run, *, tasks: int, growth: float, left: list[int]) -> Iterator[str]:
    """Each thing that is wrong, in one line.

    Args:
        run: it is over.
        tasks: how many there should have been, at least.
        growth: how much memory may grow, as a share.
        left: processes of uWSGI that have outlived its stop.
    """
    clients = run.clients
    if clients.wrong:
        yield f"{clients.wrong} of {clients.requests} requests were not answered rightly:"
        yield from (f"  {error}" for error in clients.told)
    if clients.tasks < tasks:
        yield f"{clients.tasks:,} tasks were run, fewer than {tasks:,}"
    yield from _growth(run, growth)
    yield from _leftovers(run)
    yield from _counts(run)
    if left:
        yield f"processes {left} have outlived the stop of uWSGI"


def lives(run: Run) -> dict[int, tuple[float, float]]:
    """Of each process of the last generation: its memory (KiB) as measured first, and last."""
    edge = EDGE * (run.measured_until - run.measured_from)
    found = {}
    for pid in run.reference.processes if run.reference else ():
        first = run.samples.memory(pid, run.measured_from, run.measured_from + edge)
        last = run.samples.memory(pid, run.measured_until - edge, run.measured_until)
        if first is not None and last is not None:
            found[pid] = first, last
    return found


def generations(run: Run) -> list[float]:
    """The memory (KiB) of each generation at the same age, in the order of their coming.

    None where they do not live long enough to be compared.
    """
    if run.times.between_reloads < LONG_LIFE:
        return []
    youngest, oldest = (share * run.times.between_reloads for share in AGES)
    pids = [pid for pid in run.samples.of if run.samples.of[pid]]
    found = [(pid, run.samples.memory_at_age(pid, youngest, oldest)) for pid in pids]
    memory = [kib for _, kib in found if kib is not None]
    size = len(run.last.processes) if run.last else 1
    return [
        statistics.median(memory[start : start + size]) for start in range(0, len(memory), size)
    ]


def _growth(run: Run, growth: float) -> Iterator[str]:
    assert run.reference is not None  # noqa: S101 - the run is over
    assert run.last is not None  # noqa: S101
    before, after = set(run.reference.processes), set(run.last.processes)
    if before != after:
        yield f"processes {sorted(before - after)} were replaced while nobody asked for it"
    measured = lives(run)
    if set(measured) != before:
        yield "not every process was measured"
    for pid, (first, last) in measured.items():
        if last > first * (1 + growth):
            yield (
                f"the memory of process {pid} has grown by {last / first - 1:.1%}, "
                f"from {first / 1024:.1f} to {last / 1024:.1f} MiB"
            )
    by_generation = generations(run)
    if len(by_generation) > 1 and by_generation[-1] > by_generation[0] * (1 + growth):
        yield (
            "memory has grown from generation to generation, in MiB: "
            + ", ".join(f"{kib / 1024:.1f}" for kib in by_generation)
        )


def _leftovers(run: Run) -> Iterator[str]:
    assert run.reference is not None  # noqa: S101 - the run is over
    assert run.last is not None  # noqa: S101
    for pid, last in run.last.processes.items():
        first = run.reference.processes.get(pid)
        if first is None:
            continue
        for name in COUNTED:
            had, has = getattr(first, name), getattr(last, name)
            if has > had:
                yield f"process {pid} has {has} {name}, {has - had} more than at the reference"
        for kind, has in last.kinds.items():
            had = first.kinds.get(kind, 0)
            if has > had:
                yield f"process {pid} has {has} of {kind}, {has - had} more than at the reference"


def _counts(run: Run) -> Iterator[str]:
    assert run.last is not None  # noqa: S101 - the run is over
    missing = set(run.samples.of) - set(run.farewells)
    if missing:
        yield f"processes {sorted(missing)} have ended without Python's exit"
    ended = {f"process {pid}, at its exit": counts for pid, counts in run.farewells.items()}
    living = {
        f"process {pid}, at the last quiet moment": state["counts"]
        for pid, state in run.last.states.items()
    }
    for who, counts in {**ended, **living}.items():
        submitted, done = (counts.get(f"background {what}", 0) for what in ("submitted", "done"))
        if done != submitted:
            yield f"{who}: {submitted} background tasks were submitted, {done} done"
    for who, counts in living.items():
        raised, logged = (counts.get(f"{what} unheard", 0) for what in ("raised", "logged"))
        if raised != logged:
            yield f"{who}: {raised} tasks failed unheard, {logged} were logged"
