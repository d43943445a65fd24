"""The load, from the side that asks for it: `load` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Self

from commonpool.tune.errors import TuneError
from commonpool.tune.load import Load

_BUSY = 0.85  # of one processor, from which on the generator is what is measured
_LAG = 0.02  # seconds: what is late by less is no matter


class Generator:
    """A process that loads; to be used with ``with``.

    Args:
        host: what the application is told that it is called.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._process = subprocess.Popen(
            [sys.executable, "-m", "commonpool.tune.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us alone; it ends with its standard input
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def at_rate(self, url: str, *, rate: float, seconds: float, patience: float, seed: int) -> Load:
        """Ask at random times; see `load.at_rate`.

        Raises:
            TuneError: the generator has ended.
        """
        return self._call(
            "at_rate", url=url, rate=rate, seconds=seconds, patience=patience, seed=seed
        )

    def one_after_another(self, url: str, *, times: int, patience: float) -> Load:
        """Ask again when the last answer is there.

        Raises:
            TuneError: the generator has ended.
        """
        return self._call("one_after_another", url=url, times=times, patience=patience)

    def _call(self, call: str, **arguments: Any) -> Load:
        assert self._process.stdin is not None  # noqa: S101 - they are pipes
        assert self._process.stdout is not None  # noqa: S101
        asked = json.dumps({"call": call, "host": self._host, **arguments})
        try:
            self._process.stdin.write(asked + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise TuneError(f"the generator of the load has ended ({self._process.poll()})")
        return Load(**json.loads(answer))


def own_limit(load: Load, limit: float) -> str:
    """Why a load says more of the generator than of the server; empty where it does not.

    Args:
        load: what became of it.
        limit: seconds, of the goal.
    """
    used = load.processor_seconds / load.seconds if load.seconds else 0.0
    if used > _BUSY:
        return f"the generator used {used:.0%} of a processor"
    if load.lag > max(_LAG, limit / 10):
        return f"the generator itself was late by {load.lag * 1000:.0f} ms"
    return ""
