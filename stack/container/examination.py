"""What `commonpool doctor` says of the container that is about to serve."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from commonpool.chain.reading import read_chain
from commonpool.doctor import Level, examine
from commonpool.doctor.report import lines
from commonpool.doctor.secrets import Secrets
from stack.container.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from commonpool.doctor import Finding
    from stack.container.sizes import Sizes

MODES = ("refuse", "warn")
"""``COMMONPOOL_DOCTOR``: what becomes of a start with a failure."""

SAID_BEFORE = frozenset({"connections-above-max"})
"""Said by `stack.container.sizes`, which knows how many replicas there are."""

_WIDTH = 100


class ExaminationError(ValueError):
    """The container must not serve like that. The message is one line; findings are said before."""


def examine_start(sizes: Sizes, environ: Mapping[str, str]) -> None:
    """Say on standard error what is wrong with the start, and refuse it where that is a failure.

    Looked at are uwsgi.ini as it is served with, the application's code, the kernel's limits, and
    the database's variables. A database that does not answer is no reason not to start, nor to say
    so twice.

    Args:
        sizes: what was set.
        environ: with which uWSGI will be started.

    Raises:
        ExaminationError: there is a failure, and ``COMMONPOOL_DOCTOR`` is not ``warn``; or it is
            neither ``warn`` nor ``refuse``.
    """
    mode = environ.get("COMMONPOOL_DOCTOR") or MODES[0]
    if mode not in MODES:
        raise ExaminationError(
            f"COMMONPOOL_DOCTOR is {mode!r}; it must be {' or '.join(map(repr, MODES))}"
        )
    url = sizes.settings.database_url
    with_password = url.render_as_string(hide_password=False)
    findings = found(environ, "" if url.get_backend_name() == "sqlite" else with_password)
    secrets = Secrets(environ, [with_password])
    for line, _ in lines(
        [secrets.hidden(finding) for finding in findings], (), width=_WIDTH, every=False
    ):
        if findings:
            sys.stderr.write(f"{line}\n")
    failures = sum(finding.level is Level.FAIL for finding in findings)
    if failures and mode != "warn":
        raise ExaminationError(
            f"{failures} {'failure' if failures == 1 else 'failures'}, above; "
            "COMMONPOOL_DOCTOR=warn starts nevertheless"
        )


def found(environ: Mapping[str, str], database: str) -> list[Finding]:
    """Findings that are not OK.

    Args:
        environ: with which uWSGI will be started, but for the socket that it is given.
        database: its URL; empty for none.
    """
    chain = read_chain(
        uwsgi=str(ROOT / "uwsgi.ini"),
        database=database or None,
        environ={**environ, "STACK_SOCKET_FD": "3"},
    )
    return [
        finding
        for finding in examine(chain)
        if finding.level is not Level.OK and finding.id not in SAID_BEFORE
    ]
