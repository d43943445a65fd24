"""A run: all peers in turn, A B C A B C, so that a noisy moment hits each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stack.compare.machine import busy, machine, versions
from stack.compare.peers import PEERS, Peer
from stack.compare.recording import Recording
from stack.compare.rows import ROWS
from stack.compare.rows.row import LocalRow, ServedRow
from stack.compare.serving import PeerError, served
from stack.native.errors import NativeError
from stack.native.mariadb import mariadb
from stack.native.programs import find_program
from stack.native.servers import load as load_flights
from stack.native.servers import run_folder

Tell = Callable[[str], None]


def run(
    *,
    rows: Sequence[str],
    peers: Sequence[str],
    rounds: int,
    seconds: float,
    folder: Path,
    tell: Tell,
) -> Recording:
    """Measure, and return what was measured. A peer that fails does not end it.

    Args:
        rows: keys of `ROWS`.
        peers: names of `PEERS`.
        rounds: how often each is measured.
        seconds: for each load.
        folder: for the database and for logs; what is there already is used again.
        tell: is told what is going on.

    Raises:
        NativeError: a program is missing, or the database does not start.
    """
    chosen = [ROWS[key] for key in rows]
    on_servers = [row for row in chosen if isinstance(row, ServedRow)]
    in_process = [row for row in chosen if isinstance(row, LocalRow)]
    flights = any(row.flights for row in in_process)
    for program in ("nginx", "wrk") if on_servers else ():
        find_program(program)
    recording = Recording(
        machine=machine(),
        versions=versions(PEERS[name] for name in peers),
        options={"rounds": rounds, "seconds": seconds, "rows": [*rows], "peers": [*peers]},
    )
    with ExitStack() as stack:
        url = ""
        if on_servers or flights:
            tell("starting MariaDB")
            sockets = stack.enter_context(run_folder())
            url = stack.enter_context(mariadb(folder / "mariadb", sockets)).url
        if flights:
            tell("loading the flights")
            load_flights(url, quiet=True)
        for number in range(rounds):
            recording.busy.append(busy())
            here = Round(recording, number, seconds, url, folder, tell)
            for row in on_servers:
                for name in peers:
                    here.serve(row, PEERS[name])
            for local in in_process:
                here.measure(local)
    return recording


@dataclass(frozen=True)
class Round:
    """A round: what is measured in it, and where its samples go."""

    recording: Recording
    number: int
    seconds: float
    url: str
    folder: Path
    tell: Tell

    def serve(self, row: ServedRow, peer: Peer) -> None:
        """Measure a row for one peer, on a server that is started for it."""
        if peer.name in row.not_for:
            self.recording.fail(row.key, peer.name, self.number, row.not_for[peer.name])
            return
        self._tell(f"{row.title}: {peer.title}")
        with (
            self._noting(row.key, peer.name),
            served(peer, row.budget, self.url, self.folder) as address,
        ):
            row.load(address, self.seconds, partial(self._add, row.key, peer.name))

    def measure(self, row: LocalRow) -> None:
        """Measure a row in this process."""
        self._tell(row.title)

        def add(measure: str, peer: str, values: Iterable[float]) -> None:
            self._add(row.key, peer, measure, values)

        with self._noting(row.key, ""):
            row.measure(self.seconds, self.url, add)

    def _tell(self, what: str) -> None:
        self.tell(f"round {self.number + 1} of {self.recording.options['rounds']}: {what}")

    def _add(self, key: str, peer: str, measure: str, values: Iterable[float]) -> None:
        self.recording.add(key, measure, peer, self.number, values)

    @contextmanager
    def _noting(self, key: str, peer: str) -> Iterator[None]:
        """Note what fails inside as the failure of a peer in a row, and go on."""
        try:
            yield
        except (PeerError, NativeError) as error:
            reason = str(error)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return
        self.recording.fail(key, peer, self.number, reason.partition("\n")[0])
