"""The pool's settings as they count, each with its place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from commonpool.chain.model import Setting, Unreadable, Uwsgi
from commonpool.config import DEFAULTS, KNOBS, PREFIX, PoolConfig, from_text, unknown
from commonpool.errors import ConfigError
from commonpool.servers import SHARE_OF_HARAKIRI

NOT_THE_POOLS = frozenset({"COMMONPOOL_DOCTOR"})
"""Variables that begin like the pool's settings and are none."""


def read_pool(
    environ: Mapping[str, Setting],
    uwsgi: Uwsgi | None,
    code: Mapping[str, Setting] | None = None,
) -> tuple[dict[str, Setting], list[Unreadable]]:
    """The values of `PoolConfig` as the application would have them.

    Args:
        environ: what the application finds in `os.environ`.
        uwsgi: whose ``harakiri`` gives the deadline, where it is not set.
        code: what the application itself gives, by the names of the knobs; counts before variables.

    Returns:
        A value for each knob, by name: of one that is wrong, its default; with what is wrong.
    """
    given = {
        name.removeprefix(PREFIX).lower(): setting
        for name, setting in environ.items()
        if name.startswith(PREFIX) and name not in NOT_THE_POOLS and str(setting.value).strip()
    }
    values: dict[str, Setting] = {}
    problems = []
    for knob, setting in {**given, **(code or {})}.items():
        try:
            values[knob] = dataclasses.replace(setting, value=_checked(knob, setting.value))
        except ConfigError as error:
            problems.append(Unreadable("pool", setting.file, setting.line, str(error)))
    for knob, default in DEFAULTS.items():
        values.setdefault(knob, Setting(default, "default"))
    share = values["max_workers_per_request"]
    words, fits = KNOBS["max_workers_per_request"]
    if not fits(share.value, {"max_workers": values["max_workers"].value}):
        message = f"{_spelled('max_workers_per_request')}={share.value}: must be {words}."
        problems.append(Unreadable("pool", share.file, share.line, message))
        values["max_workers_per_request"] = Setting(None, "default")
    return _derived(values, uwsgi), problems


def _checked(knob: str, given: object) -> object:
    if knob not in KNOBS:
        raise ConfigError(unknown(knob, _spelled))
    value = from_text(knob, given, _spelled)
    words, fits = KNOBS[knob]
    # Whether it is below max_workers is seen when all are known.
    if knob != "max_workers_per_request" and not fits(value, DEFAULTS):
        raise ConfigError(f"{_spelled(knob)}={given!r}: must be {words}.")
    return value


def _derived(values: dict[str, Setting], uwsgi: Uwsgi | None) -> dict[str, Setting]:
    """With what follows from others: the deadline, and the places in the queue."""
    if values["deadline"].value is None:
        harakiri = None if uwsgi is None else uwsgi.get("harakiri")
        limit = 0 if uwsgi is None else uwsgi.number("harakiri")
        if harakiri is not None and limit > 0:
            values["deadline"] = Setting(
                SHARE_OF_HARAKIRI * limit, harakiri.file, harakiri.line, f"harakiri = {limit}"
            )
        else:
            values["deadline"] = Setting(math.inf, "default")
    if values["max_queue"].value is None:
        workers = values["max_workers"]
        places = PoolConfig(max_workers=int(workers.value)).waiting_places
        values["max_queue"] = Setting(places, "default", 0, f"4 x max_workers = {workers.value}")
    return values


def _spelled(knob: str) -> str:
    return PREFIX + knob.upper()
