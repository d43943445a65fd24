"""What `commonpool doctor` says of the container that is about to serve."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from commonpool.chain.model import Chain, Setting
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
    findings = found(sizes, environ)
    secrets = Secrets(environ.items(), [with_password])
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


def found(sizes: Sizes, environ: Mapping[str, str]) -> list[Finding]:
    """Findings that are not OK.

    Args:
        sizes: what was set: the application's code alone does not tell of its engine's.
        environ: with which uWSGI will be started, but for the socket that it is given.
    """
    url = sizes.settings.database_url
    is_file = url.get_backend_name() == "sqlite"
    chain = read_chain(
        uwsgi=str(ROOT / "uwsgi.ini"),
        database=None if is_file else url.render_as_string(hide_password=False),
        environ={**environ, "STACK_SOCKET_FD": "3"},
    )
    return [
        finding
        for finding in examine(_with_sizes(chain, sizes))
        if finding.level is not Level.OK and finding.id not in SAID_BEFORE
    ]


def _with_sizes(chain: Chain, sizes: Sizes) -> Chain:
    application, settings = chain.application, sizes.settings
    if application is None:
        return chain
    given = {
        "dialect": Setting(settings.database_url.get_backend_name(), "environment"),
        "driver": Setting(settings.database_url.get_driver_name(), "environment"),
        "pool_size": Setting(settings.pool_size, "environment"),
        "max_overflow": Setting(settings.max_overflow, "environment"),
        "statement_seconds": Setting(settings.statement_seconds, "environment"),
    }
    engines = [
        replace(engine, values={**engine.values, **given}) if engine.name == "db" else engine
        for engine in application.engines
    ]
    return replace(chain, application=replace(application, engines=engines))
