"""An answer, for people and for programs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from commonpool.chain.figures import milliseconds, per_second
from commonpool.plan.fitting import Estimate, Fit
from commonpool.plan.sizing import Answer

WIDTH = 80
_INDENT = 2


def as_text(answer: Answer, fit: Fit) -> str:
    """Lines of 80 columns, without colour."""
    return "\n".join(line.rstrip() for line in _lines(answer, fit)) + "\n"


def as_json(answer: Answer, fit: Fit) -> dict[str, Any]:
    """The same figures, with times in seconds and shares as numbers from 0 to 1."""
    sizes, goal, hosts = answer.sizes, answer.goal, answer.hosts
    prediction = answer.prediction
    errors = fit.errors()
    return {
        "goal": {
            "rps": goal.rps,
            "p99": goal.p99,
            "hosts": goal.hosts,
            "cores": goal.cores,
            "max_connections": goal.max_connections,
        },
        "met": answer.met,
        "surely": answer.surely,
        "overloaded": prediction is None,
        "hosts": hosts,
        "hosts_needed": answer.hosts_needed,
        "processes": sizes.processes,
        "threads": sizes.threads,
        "max_workers": sizes.max_workers,
        "connections": {
            "process": answer.connections,
            "host": answer.connections * sizes.processes,
            "all": answer.connections * sizes.processes * hosts,
        },
        "p50": None if prediction is None else _estimate(prediction.p50),
        "p99": None if prediction is None else _estimate(prediction.p99),
        "used": {name: round(share, 4) for name, share in answer.limits.items()},
        "load": round(answer.overload, 4),
        "limit": answer.limit,
        "queries_per_second": round(answer.queries, 1),
        "database_cores": round(answer.database_cores, 2),
        "fit": {
            "loads": len(fit.loads),
            "requests": sum(load.requests for load in fit.loads),
            "lowest_rps": fit.loads[0].rps,
            "highest_rps": fit.loads[-1].rps,
            "error_p50": round(float(errors[0]), 4),
            "error_p99": round(float(errors[1]), 4),
            "processor_seconds": answer.request.processor,
            "contended_seconds": answer.request.contended,
            "waiting_seconds": answer.request.waits,
            "tasks": answer.request.tasks,
            "tail": fit.parameters.tail,
        },
    }


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {
        "expected": round(estimate.value, 6),
        "low": round(estimate.low, 6),
        "high": round(estimate.high, 6),
    }


def _lines(answer: Answer, fit: Fit) -> Iterator[str]:
    goal = answer.goal
    there = "as many hosts as it takes" if goal.hosts is None else _count(goal.hosts, "host")
    yield (
        f"{goal.rps:,g} requests/s, p99 within {milliseconds(goal.p99)}: {there}, "
        f"{_count(goal.cores, 'core')} each"
    )
    yield ""
    yield from _wrapped(_verdict(answer))
    yield ""
    yield from _sizes(answer)
    yield ""
    yield from _expected(answer)
    yield ""
    yield from _used(answer)
    yield ""
    yield from _known(answer, fit)


def _verdict(answer: Answer) -> str:
    goal, needed = answer.goal, answer.hosts_needed
    do = "no number of hosts would do" if needed is None else f"{_count(needed, 'host')} would do"
    if answer.surely:
        said = "The goal is met."
    elif answer.met:
        said = "The goal is met, but not surely: the p99 may be above it."
    elif answer.prediction is None:
        asked = f"{answer.overload:.0%} of what {_count(answer.hosts, 'host')} can serve"
        return f"OVERLOAD: that is {asked}, and queues would grow for ever; {do}."
    else:
        return f"The goal is NOT met on {_count(answer.hosts, 'host')}; {do}."
    if goal.hosts is None:
        return f"{said} It takes {_count(answer.hosts, 'host')}."
    if needed is not None and needed < goal.hosts:
        return f"{said} {needed} of the {goal.hosts} hosts would do."
    return f"{said} It takes all of the hosts." if goal.hosts > 1 else said


def _sizes(answer: Answer) -> Iterator[str]:
    sizes, hosts = answer.sizes, answer.hosts
    yield _row("", "a process", "a host", "in all", "set with")
    for name, each, line in (
        ("processes", None, f"processes = {sizes.processes}"),
        ("request threads", sizes.threads, f"threads = {sizes.threads}"),
        ("workers", sizes.max_workers, f"COMMONPOOL_MAX_WORKERS={sizes.max_workers}"),
        ("connections", answer.connections, f"pool_size={sizes.connections}, +1"),
    ):
        host = sizes.processes * (1 if each is None else each)
        shown = "" if each is None else f"{each:,}"
        yield _row(name, shown, f"{host:,}", f"{host * hosts:,}", line)


def _row(name: str, *cells: str) -> str:
    *numbers, last = cells
    return f"  {name:<18}" + "".join(f"{cell:>11}" for cell in numbers) + f"  {last}"


def _expected(answer: Answer) -> Iterator[str]:
    if answer.prediction is None:
        yield "  expected          no steady state"
        return
    yield f"  {'':<18}{'p50':>11}{'p99':>11}"
    both = (answer.prediction.p50, answer.prediction.p99)
    yield f"  {'expected':<18}" + "".join(f"{milliseconds(one.value):>11}" for one in both)
    yield f"  {'90 % from':<18}" + "".join(f"{milliseconds(one.low):>11}" for one in both)
    yield f"  {'       to':<18}" + "".join(f"{milliseconds(one.high):>11}" for one in both)


def _used(answer: Answer) -> Iterator[str]:
    yield f"  {'used':<18}" + "   ".join(
        f"{name} {share:.0%}" for name, share in answer.limits.items()
    )
    yield f"  {'limits first':<18}{answer.limit}"
    yield (
        f"  {'load':<18}{answer.overload:.0%} of what "
        f"{'a host' if answer.hosts == 1 else 'these hosts'} can serve at most"
    )


def _known(answer: Answer, fit: Fit) -> Iterator[str]:
    request, loads = answer.request, fit.loads
    errors = fit.errors()
    yield from _wrapped(
        f"Fitted to {len(loads)} loads of {per_second(loads[0].rps)} to "
        f"{per_second(loads[-1].rps)} requests/s ({sum(load.requests for load in loads):,} "
        f"requests), on which half of the errors are below {errors[0]:.0%} (p50) and "
        f"{errors[1]:.0%} (p99). One request: "
        f"{milliseconds(request.processor)} of a core in its process, "
        f"{milliseconds(request.contended)} elsewhere, "
        f"{fit.measurements.tasks_per_request:.3g} tasks."
    )
    yield ""
    yield "Not known to the plan, and assumed:"
    asked = f"{answer.queries:,.0f} tasks/s"
    if fit.measurements.tasks_per_request < 1:
        asked = f"what {answer.goal.rps:,g} requests/s ask of it (they had no tasks of the pool)"
    queries = (
        f"The database answers as fast as it did to single requests. It would have to serve {asked}"
    )
    if answer.database_cores > 0:
        queries += (
            f", which keep up to {math.ceil(answer.database_cores * 10) / 10:,g} cores busy there "
            "if they cost what they did where they were measured"
        )
    for point in (
        f"{queries}.",
        f"A core is as fast as one of the {fit.measurements.cores} that were measured on.",
        "nginx spreads requests over the hosts evenly; it and the network cost them nothing.",
        "Requests come at random times (Poisson), all of the kind that was measured.",
    ):
        yield from textwrap.wrap(
            point, WIDTH - _INDENT, initial_indent="- ", subsequent_indent="  "
        )


def _wrapped(text: str) -> Iterable[str]:
    return textwrap.wrap(text, WIDTH - 1)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
