"""Load on a server: closed loops, and requests at their own times. Both with wrk.

Of the generators that record from the intended start (vegeta, oha, wrk2, k6), Debian 12 and PyPI
have none. wrk has what it takes: a script decides when a connection asks, and sees its answer.
"""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stack.compare.serving import PeerError
from stack.native.programs import find_program

_SCRIPT = Path(__file__).with_name("wrk.lua")

_RAMP = 3.0  # seconds at the beginning that do not count: threads start, connections open, and the
# clients, who have all begun at the same moment, spread
_ANSWER_LIMIT = 60  # seconds; no answer by then is an error
_SPARE = 30.0  # seconds that wrk may take beyond its time


@dataclass(frozen=True)
class Load:
    """What became of a load; a request that has no answer in the end is neither right nor wrong.

    Attributes:
        seconds: that were counted.
        answered: requests that were answered with 200 in that time.
        failed: requests that were answered with anything else.
        latencies: seconds, of a load at its own times: from when a request should have been sent
            until its answer, or until the end where it had none.
    """

    seconds: float
    answered: int
    failed: int
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.answered / self.seconds

    @property
    def failures(self) -> float:
        """Which share of the answers was wrong."""
        return self.failed / max(self.answered + self.failed, 1)


def closed(url: str, clients: int, seconds: float) -> Load:
    """Have so many clients ask, each again as soon as it has its answer.

    Args:
        url: what they ask for.
        clients: each has a connection.
        seconds: that are counted.

    Raises:
        NativeError: wrk is not installed.
        PeerError: connections broke, or nothing was answered.
    """
    return _wrk(url, clients, seconds, threads=1)


def at_rate(url: str, rate: float, connections: int, seconds: float) -> Load:
    """Ask at even times, whether or not the answers keep up.

    Args:
        url: what is asked for.
        rate: requests a second.
        connections: so many requests at most are under way; one that finds none free is late, and
            that counts.
        seconds: that are counted.

    Raises:
        NativeError: wrk is not installed.
        PeerError: connections broke, or nothing was answered.
    """
    return _wrk(url, connections, seconds, str(rate), str(connections), threads=connections)


def _wrk(url: str, connections: int, seconds: float, *more: str, threads: int) -> Load:
    # At the end a second more, so that a load is not at its end while it is still counted.
    duration = math.ceil(_RAMP + seconds + 1)
    command = [
        find_program("wrk"),
        *(f"--threads={threads}", f"--connections={connections}", f"--duration={duration}s"),
        *(f"--timeout={_ANSWER_LIMIT}s", f"--script={_SCRIPT}", url),
        *("--", str(_RAMP), str(seconds), *more),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - wrk, and our own script
            command, capture_output=True, text=True, check=False, timeout=duration + _SPARE
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"wrk did not end in {duration + _SPARE:g} s") from None
    return read(done.stdout, done.stderr, seconds)


def read(output: str, errors: str, seconds: float) -> Load:
    """What wrk told, as `Load`.

    Raises:
        PeerError: it told nothing, or of nothing but errors.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        said = (errors or output).strip().splitlines()
        raise PeerError(f"wrk failed: {said[-1] if said else 'it said nothing'}")
    told = json.loads(lines[-1])
    if told["broken"]:
        raise PeerError(f"{told['broken']} connections broke")
    if not told["answered"] + told["failed"] + told["late"]:
        raise PeerError(f"no request was answered in {seconds:g} s")
    latencies = [microseconds / 1e6 for microseconds in told["latencies"]]
    return Load(seconds, told["answered"], told["failed"], latencies)
