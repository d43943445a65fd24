"""Reloads under load: all processes at once, and one after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from stack.native.uwsgi import UWSGI
from stack.native.waiting import wait_until

LIMIT = 90.0  # seconds: worker-reload-mercy, twice


@dataclass
class Reloads:
    """What was asked of uWSGI, and how long each took, in seconds."""

    server: UWSGI
    sighup: list[float] = field(default_factory=list)
    chain: list[float] = field(default_factory=list)

    def next(self) -> None:
        """The one kind or the other, by turns; wait until every worker process is a new one.

        Raises:
            TimeoutError: some are not.
        """
        before = wait_until(self.server.worker_pids, LIMIT, what="worker processes")
        begun = time.monotonic()
        if len(self.sighup) > len(self.chain):
            self.server.socket.with_name("uwsgi.fifo").write_text("c")
            taken = self.chain
        else:
            self.server.reload()
            taken = self.sighup
        wait_until(lambda: self._renewed(before), LIMIT, what="new worker processes")
        taken.append(time.monotonic() - begun)

    def _renewed(self, before: list[int]) -> bool:
        now = self.server.worker_pids()
        return len(now) == len(before) and not set(now) & set(before)
