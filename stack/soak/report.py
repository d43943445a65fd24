"""The figures of a run, in tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stack.soak.run import Run
from stack.soak.verdict import COUNTED, generations, lives

MIB = 1024


def show(run: Run, console: Console) -> None:
    """Print what was measured."""
    console.print(_work(run))
    console.print(_kinds(run))
    console.print(_memory(run))
    console.print(_leftovers(run))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _work(run: Run) -> Table:
    clients, reloads = run.clients, run.reloads
    table = _table("Work", "")
    table.add_row("seconds of load", f"{run.seconds:.0f}")
    table.add_row("tasks", f"{clients.tasks:,}")
    table.add_row("tasks each second", f"{clients.tasks / run.seconds:,.0f}")
    table.add_row("requests", f"{clients.requests:,}")
    table.add_row("requests answered wrongly", f"{clients.wrong:,}")
    for name, taken in (("SIGHUP", reloads.sighup), ("chain", reloads.chain)):
        seconds = f"{min(taken):.1f} to {max(taken):.1f} s each" if taken else ""
        table.add_row(f"{name} reloads", f"{len(taken)}, {seconds}")
    table.add_row("worker processes, one after another", f"{len(run.samples.of)}")
    return table


def _kinds(run: Run) -> Table:
    table = _table("Tasks by kind", "tasks")
    for name, number in run.clients.kinds.most_common():
        table.add_row(name, f"{number:,}")
    pools = [state["pool"] for state in (run.last.states.values() if run.last else ())]
    for name in ("run_by_workers", "run_by_callers", "cancelled", "failed", "rejected"):
        number = sum(pool[name] for pool in pools)
        table.add_row(f"{name}, in the last generation", f"{number:,}")
    return table


def _memory(run: Run) -> Table:
    table = _table("Resident memory, MiB", "first", "last", "growth")
    for pid, (first, last) in lives(run).items():
        table.add_row(
            f"process {pid}, within {run.times.measured:.0f} s",
            f"{first / MIB:.1f}",
            f"{last / MIB:.1f}",
            f"{last / first - 1:+.1%}",
        )
    found = generations(run)
    if found:
        table.add_row(
            f"{len(found)} generations, at the same age",
            f"{found[0] / MIB:.1f}",
            f"{found[-1] / MIB:.1f}",
            f"{found[-1] / found[0] - 1:+.1%}",
        )
    return table


def _leftovers(run: Run) -> Table:
    table = _table("At rest: at the reference moment, and at the end", *COUNTED)
    for pid, last in (run.last.processes if run.last else {}).items():
        first = run.reference.processes.get(pid) if run.reference else None
        table.add_row(
            f"process {pid}",
            *(f"{getattr(first, name, '?')} to {getattr(last, name)}" for name in COUNTED),
        )
    return table
