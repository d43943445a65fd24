"""The run: requests all the time, reloads at first, and two quiet moments to compare."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stack.native.servers import Site
from stack.soak.client import Clients
from stack.soak.quiet import Quiet, fill, quiet
from stack.soak.reloads import Reloads
from stack.soak.samples import Samples
from stack.soak.times import Times

CLIENTS = 6
"""Requests at once: two processes are kept busy, and each request is answered in a second."""

LOOK = 0.2  # seconds between two looks at the time


@dataclass
class Run:
    """What has happened.

    Attributes:
        times: when it was to happen.
        clients: who have sent the requests, and what they have seen.
        reloads: how long each took.
        samples: of the processes' memory.
        measured_from: the reference moment, on the monotonic clock.
        measured_until: the end of the load.
        reference: the quiet moment at the begin of the measured time.
        last: the one at its end.
        seconds: of load, together.
        farewells: what the processes that have ended had counted, by process id.
    """

    times: Times
    clients: Clients
    reloads: Reloads
    samples: Samples = field(default_factory=Samples)
    measured_from: float = 0.0
    measured_until: float = 0.0
    reference: Quiet | None = None
    last: Quiet | None = None
    seconds: float = 0.0
    farewells: dict[int, dict[str, int]] = field(default_factory=dict)

    def go(self, site: Site, tell: Callable[[str, float], None]) -> None:
        """Do it all.

        Args:
            site: where `stack.soak.application` runs.
            tell: called now and then with what is going on, and which share of it is done.

        Raises:
            TimeoutError: a reload, or the way to a quiet moment, took too long.
            NativeError: a server has ended.
        """
        times = self.times
        with self.samples.taken(site.uwsgi):
            begun = time.monotonic()
            with self.clients.at_work():
                for number in range(times.reloads):
                    self._wait(site, begun + (number + 1) * times.between_reloads, "reloads", tell)
                    self.reloads.next()
                self._wait(site, time.monotonic() + times.settling, "settling", tell)
            self.seconds += time.monotonic() - begun
            fill(site)
            self.reference = quiet(site)
            self.measured_from = time.monotonic()
            with self.clients.at_work():
                self._wait(site, self.measured_from + times.measured, "measured", tell)
            self.measured_until = time.monotonic()
            self.seconds += self.measured_until - self.measured_from
            self.last = quiet(site)

    def _wait(
        self, site: Site, until: float, what: str, tell: Callable[[str, float], None]
    ) -> None:
        begun = time.monotonic()
        while (now := time.monotonic()) < until:
            site.uwsgi.child.require_running()
            site.nginx.child.require_running()
            tell(what, (now - begun) / (until - begun))
            time.sleep(min(LOOK, until - now))

    def collect_farewells(self, folder: Path) -> None:
        """Read what the processes have left behind, once all have ended."""
        for path in folder.glob("*.json"):
            self.farewells[int(path.stem)] = json.loads(path.read_text(encoding="utf-8"))
