"""How many statements ran where, and why some stayed with their session."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a statement ran on its session's own connection, in order, and not on a worker's."""

    ASKED = "asked to by an execution option"
    NOT_A_SELECT = "not a SELECT"
    LOCKS_ROWS = "locks rows"
    ABOUT_THE_CONNECTION = "tells of its own connection, or acts on it"
    CHANGES = "uncommitted changes in the session"
    BOUND = "the session is bound to a connection"
    AFTER_BEGIN = "the session has an after_begin listener, and there is no prepare_connection"
    GREENLET = "another do_orm_execute listener may look for what is its greenlet's own"
    ONE_CONNECTION = "the database is in this one connection, or may have no second"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementStats:
    """What has become of the statements of this process.

    Attributes:
        on_workers: calls of the database that workers made.
        by_callers: calls that callers made on their session's own connection, helping.
        at_home: statements that had to run on their session's own connection, by reason.
        put_off: how often a worker found no connection, and left a statement to its caller.
        stopped: statements that were stopped in the server, past their deadline.
        cut_off: connections that were cut, since the database did not answer any more.
        on_replicas: of the calls that workers and callers made, those that a replica has served.
        replica_away: calls that the primary was to serve instead, since the replica did not answer.
        replica_lost: how often a replica's connection was lost under a statement, which the primary
            has served then.
    """

    on_workers: int
    by_callers: int
    at_home: Mapping[str, int]
    put_off: int
    stopped: int
    cut_off: int
    on_replicas: int
    replica_away: int
    replica_lost: int


_lock = threading.Lock()
_counts: Counter[str] = Counter()


def count(what: str, times: int = 1) -> None:
    """Count one of the attributes of `StatementStats`, or a `Reason`."""
    with _lock:
        _counts[what] += times


def stats() -> StatementStats:
    """The numbers at this moment."""
    with _lock:
        counts = dict(_counts)
    return StatementStats(
        on_workers=counts.get("on_workers", 0),
        by_callers=counts.get("by_callers", 0),
        at_home={reason.value: counts[reason] for reason in Reason if reason in counts},
        put_off=counts.get("put_off", 0),
        stopped=counts.get("stopped", 0),
        cut_off=counts.get("cut_off", 0),
        on_replicas=counts.get("on_replicas", 0),
        replica_away=counts.get("replica_away", 0),
        replica_lost=counts.get("replica_lost", 0),
    )
