"""What each peer is given: the same for all of them, and written down here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

PROCESSES = 2
"""Worker processes of each server."""

CONNECTIONS = 100
"""Connections to the database, of all processes together. MariaDB allows 151 by default."""

CLIENTS = 64
"""The most clients that ask at the same time."""

PATIENCE = 30.0
"""Seconds that a session waits for a connection: SQLAlchemy's default."""

_PREFIX = "COMPARE_"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one process of a server may use.

    Attributes:
        processes: worker processes of the server.
        threads: requests that a process with threads answers at once; coroutines and greenlets
            have no such limit.
        connections: to the database, in a process: its pool has so many, and none beyond.
        patience: seconds that a session waits for one of them.
    """

    processes: int = PROCESSES
    threads: int = CLIENTS // PROCESSES  # so that no client waits for a thread
    connections: int = CONNECTIONS // PROCESSES
    patience: float = PATIENCE

    @property
    def workers(self) -> int:
        """Threads for commonpool: what its documentation advises.

        Request threads run tasks, too, so that both together need a connection each. Where there
        are fewer connections than that, workers wait while there is none.
        """
        return max(self.connections - self.threads, self.connections // 2, 1)

    @property
    def pool(self) -> dict[str, Any]:
        """SQLAlchemy's connection pool, as arguments for its engine."""
        return {
            "pool_size": self.connections,
            "max_overflow": 0,
            "pool_timeout": self.patience,
        }

    def environ(self) -> dict[str, str]:
        """The budget as variables for a server's process."""
        return {
            f"{_PREFIX}PROCESSES": str(self.processes),
            f"{_PREFIX}THREADS": str(self.threads),
            f"{_PREFIX}CONNECTIONS": str(self.connections),
            f"{_PREFIX}PATIENCE": str(self.patience),
        }

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """The budget that `environ` has written down; the usual one where it has not."""
        usual = cls()
        return cls(
            processes=int(environ.get(f"{_PREFIX}PROCESSES", usual.processes)),
            threads=int(environ.get(f"{_PREFIX}THREADS", usual.threads)),
            connections=int(environ.get(f"{_PREFIX}CONNECTIONS", usual.connections)),
            patience=float(environ.get(f"{_PREFIX}PATIENCE", usual.patience)),
        )
