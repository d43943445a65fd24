"""One `commonpool tune` from its arguments to its measurements."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from commonpool.chain.figures import milliseconds
from commonpool.chain.measured import Sizes
from commonpool.tune import configuration, edits, grid
from commonpool.tune.errors import TuneError
from commonpool.tune.generator import Generator
from commonpool.tune.goal import Goal, limit_from
from commonpool.tune.measuring import Alone, Measuring
from commonpool.tune.progress import Telling
from commonpool.tune.recording import Recording
from commonpool.tune.search import Effort, Search
from commonpool.tune.serving import Place

LOG = "uwsgi.log"

_SEARCHING = 0.6  # of the budget; what is left is the finals'
_DECIDED = 0.88  # and then that of the loads for the plots


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        url: the page; its path and query are what is loaded.
        ini: uWSGI's configuration.
        output: the folder for what is written.
        p99: seconds; `None` for a limit that follows from the unloaded latency.
        rps: requests a second; `None` for as many as can be served.
        grid: what is varied; `None` for the default.
        pool_variable: in which the application reads the size of its connection pool.
        seconds: of a finalist's load in one round.
        rounds: of the finalists.
        budget: seconds for all of it.
        environ: of uWSGI.
    """

    url: str
    ini: Path
    output: Path
    p99: float | None = None
    rps: float | None = None
    grid: Mapping[str, Sequence[int]] | None = None
    pool_variable: str | None = None
    seconds: float = 6.0
    rounds: int = 4
    budget: float = 540.0
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def target(self) -> str:
        """Path and query."""
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def shown_url(self) -> str:
        """The URL without the name and password of a user, which are not sent either."""
        return urlsplit(self.url)._replace(netloc=self.host).geturl()

    @property
    def host(self) -> str:
        """What the application is told that it is called."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def require_url(url: str) -> None:
    """Make sure that a URL is one that can be loaded.

    Raises:
        TuneError: it is not.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise TuneError(f"{url!r} is no URL: {error}") from None
    if parts.scheme == "https":
        raise TuneError(
            "the URL begins with https: uWSGI is asked directly, without nginx and TLS; write http"
        )
    if parts.scheme != "http" or not parts.hostname:
        raise TuneError(f"{url!r} is no URL such as http://127.0.0.1:8080/api/dashboard")
    if not parts.path:
        raise TuneError(f"{url!r} has no path: write which page to load, as in {url}/")


@dataclass
class Tuning:
    """The work, and what it has come to so far.

    Attributes:
        asked: what was asked for.
        telling: says how it goes.
        cores: of the machine.
        present: what is set.
        alone: what one request costs; `None` until that is measured.
        goal: what is asked; `None` until the limit is known.
        search: what was found; `None` until it has begun.
        measuring: made the measurements; the same.
        began: on the monotonic clock.
    """

    asked: Asked
    telling: Telling
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    present: Sizes = field(default_factory=lambda: Sizes(1, 1, 1))
    alone: Alone | None = None
    goal: Goal | None = None
    search: Search | None = None
    measuring: Measuring | None = None
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def run(self) -> None:
        """Do it.

        Raises:
            TuneError: it cannot be done.
            KeyboardInterrupt: it was interrupted; what was measured stays.
        """
        asked = self.asked
        require_url(asked.url)
        place = self._place()
        try:
            with (
                Recording(
                    asked.output, url=asked.shown_url, ini=str(asked.ini), cores=self.cores
                ) as recording,
                Generator(asked.host) as generator,
            ):
                self.measuring = Measuring(
                    place, asked.target, generator, recording, self.telling.run
                )
                self._measure(self.measuring)
        finally:
            self.seconds = time.monotonic() - self.began

    def _place(self) -> Place:
        asked = self.asked
        program = configuration.find_program()
        found = edits.read(asked.ini, asked.environ)
        with tempfile.TemporaryDirectory(prefix="commonpool-tune-", dir="/tmp") as folder:
            told = configuration.ask(program, asked.ini, Path(folder), asked.environ)
        told.require_threads(asked.ini)
        self.present = told.sizes(asked.environ, asked.pool_variable)
        self.telling.say(
            f"uWSGI ({program}) is started with {asked.ini} on a port of its own, and asked "
            f"directly for {asked.target}: nginx is not in the way."
        )
        left_out = told.left_out()
        if left_out:
            self.telling.say(f"Not used of {asked.ini}: {', '.join(left_out)}.")
        self.telling.say(
            f"At present: {grid.words(self.present)}. The machine has {self.cores} cores, which "
            "the load shares with the server."
        )
        try:
            asked.output.mkdir(parents=True, exist_ok=True)
            log = asked.output / LOG
            log.write_bytes(b"")
        except OSError as error:
            raise TuneError(
                f"{asked.output} cannot be written: {error.strerror or error}"
            ) from None
        return Place(
            program,
            asked.ini,
            asked.environ,
            asked.pool_variable,
            edits.placeholders(found),
            log,
        )

    def _measure(self, measuring: Measuring) -> None:
        asked = self.asked
        generous = self._generous()
        self.telling.say("Single requests, one after another:")
        self.alone = measuring.alone(generous, asked.seconds / 2)
        self.telling.say(
            f"  median {milliseconds(self.alone.median)}, "
            f"{milliseconds(self.alone.processor_seconds)} of a processor, "
            f"{self.alone.tasks:.3g} tasks of the pool"
        )
        limit = asked.p99 or limit_from(self.alone.median)
        self.goal = self.telling.goal = Goal(limit, asked.rps, derived=asked.p99 is None)
        if self.goal.derived:
            self.telling.say(
                f"No --p99: {milliseconds(limit)} is taken, three times the median of single "
                "requests (at least 50 ms)."
            )
        chosen = asked.grid or grid.default(self.present, self.cores, self.alone.tasks)
        settings = grid.settings(chosen, self.present, connections=asked.pool_variable is not None)
        most = max(sizes.processes for sizes in settings)
        if most > self.cores:
            self.telling.say(
                f"Up to {most} processes are tried on {self.cores} cores: more than can work at "
                "the same moment."
            )
        self.search = Search(
            measuring,
            self.goal,
            settings,
            self.present,
            self.alone,
            self.cores,
            Effort(
                asked.seconds,
                asked.rounds,
                until=self.began + asked.budget,
                search_until=self.began + _SEARCHING * asked.budget,
                finals_until=self.began + _DECIDED * asked.budget,
            ),
            self.telling.step,
        )
        self.telling.say(f"Looked for: {self.goal}, among {len(settings)} settings.")
        self.search.run()

    def _generous(self) -> Sizes:
        """What one request alone is measured with: as much as the grid has."""
        chosen = self.asked.grid or {}
        workers = max([*chosen.get("workers", [32]), self.present.max_workers])
        connections = None
        if self.asked.pool_variable:
            connections = max(
                [*chosen.get("connections", [workers]), self.present.connections or 1]
            )
        threads = max([*chosen.get("threads", [4]), self.present.threads])
        return Sizes(1, threads, workers, connections)


def require_writable(folder: Path) -> None:
    """Make sure that what is measured can be written down, before it is measured.

    Raises:
        TuneError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"\0" * 4096)
        with suppress(OSError):
            probe.unlink()
    except OSError as error:
        raise TuneError(f"{folder} cannot be written: {error.strerror or error}") from None
