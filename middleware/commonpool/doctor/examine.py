"""All checks, on one chain."""

from __future__ import annotations

from commonpool.chain.model import Chain
from commonpool.doctor import (
    checks_application,
    checks_engine,
    checks_limits,
    checks_nginx,
    checks_times,
    checks_uwsgi,
)
from commonpool.doctor.findings import Check, Finding, Level

CHECKS: tuple[Check, ...] = (
    *checks_uwsgi.CHECKS,
    *checks_times.CHECKS,
    *checks_engine.CHECKS,
    *checks_limits.CHECKS,
    *checks_nginx.CHECKS,
    *checks_application.CHECKS,
)
"""Each with an id of its own; the order is that in which findings of one level are told."""

_ORDER = (Level.FAIL, Level.WARN, Level.OK)


def examine(chain: Chain) -> list[Finding]:
    """What is to be said of a chain.

    Args:
        chain: as far as it was read. What was not read is not guessed at.

    Returns:
        Findings: failures first, then warnings, then what is well; none twice.
    """
    found = dict.fromkeys(finding for one in CHECKS for finding in one(chain))
    return sorted(found, key=lambda finding: _ORDER.index(finding.level))
