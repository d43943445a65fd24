"""What an imported and unused middleware costs: threads, memory, and time for each request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commonpool import CommonPoolMiddleware
from stack.bench.samples import Samples, by_turns

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

CALLS = 2_000

WITHOUT = "the application alone"
WITH = "behind an unused middleware"

# Run by a Python of its own: what this one has imported and started would hide the difference.
PROGRAM = """
import json, threading
def memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
before = memory()
from commonpool import CommonPoolMiddleware
middleware = CommonPoolMiddleware(lambda environ, start_response: [b""])
for _ in range(1000):
    middleware({}, lambda *args: None)
print(json.dumps({"threads": threading.active_count() - 1, "kibibytes": memory() - before}))
"""


@dataclass(frozen=True)
class Footprint:
    """What a thousand requests through an unused middleware have left in a fresh process.

    Attributes:
        threads: started.
        kibibytes: of resident memory, the standard library's modules included that it imports.
    """

    threads: int
    kibibytes: int


def footprint() -> Footprint:
    """Measure in a process of its own."""
    done = subprocess.run(  # noqa: S603 - the program above
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return Footprint(**json.loads(done.stdout))


class Response:
    """A response as frameworks return it: an iterator, to be closed."""

    def __init__(self) -> None:
        self._chunks = iter([b"x"])

    def __iter__(self) -> Response:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Nothing to close."""


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Response:
    """Answer at once."""
    del environ
    start_response("200 OK", [])
    return Response()


def measure(rounds: Iterable[object]) -> dict[str, Samples]:
    """How long a request takes with and without an unused middleware, in seconds."""

    def request(app: Any) -> None:
        response = app({}, lambda *_: None)
        for _ in response:
            pass
        response.close()

    middleware = CommonPoolMiddleware(application)
    return by_turns(
        {WITHOUT: lambda: request(application), WITH: lambda: request(middleware)},
        rounds,
        calls=CALLS,
    )
