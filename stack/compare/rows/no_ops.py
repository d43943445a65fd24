"""Row 2: what a fan-out costs by itself."""

from __future__ import annotations

from stack.bench import fan_out
from stack.compare.peers import COMMONPOOL, PER_REQUEST, SEQUENTIAL, SHARED
from stack.compare.recording import Recording
from stack.compare.results import Result, figures, scaled
from stack.compare.rows.row import Add, LocalRow

KEY = "2"
MEASURE = "seconds"
WITH_DEADLINE = f"{COMMONPOOL} in a request"

_TURNS = 10

_PEERS = {
    fan_out.SEQUENTIAL: SEQUENTIAL,
    fan_out.BARE: SHARED,
    fan_out.PER_REQUEST: PER_REQUEST,
    fan_out.OURS: COMMONPOOL,
    fan_out.OURS_WITH_DEADLINE: WITH_DEADLINE,
}


def measure(seconds: float, url: str, add: Add) -> None:
    """As `stack.bench` does it."""
    del seconds, url
    for name, samples in fan_out.measure(range(_TURNS)).items():
        add(MEASURE, _PEERS[name], samples.seconds)


def results(recording: Recording) -> list[Result]:
    """Microseconds for a fan-out."""
    found = figures(
        recording,
        KEY,
        MEASURE,
        lambda peer: scaled(recording.medians(KEY, MEASURE, peer), 1e6),
    )
    sequential = found.get(SEQUENTIAL)
    return [
        Result(
            row=KEY,
            what=f"Fan-out of {fan_out.TASKS} tasks that do nothing, in a request with a deadline",
            unit="us",
            limit=sequential.median if sequential else None,
            before="523 us",
            target=15,
            figures=found,
            ours=WITH_DEADLINE,
            reference=SEQUENTIAL,
            failures=recording.reasons(KEY),
            digits=1,
            shortfall="It is 1,800 of Python's instructions, and goes with the machine's speed: "
            "13.9 to 20.2 us in runs on one machine, 20 to 23 times a loop over the functions.",
        )
    ]


ROW = LocalRow(
    key=KEY,
    title=f"fan-out of {fan_out.TASKS} no-ops",
    results=results,
    measure=measure,
)
