"""The knobs of the pool: frozen once made, checked when made, read from variables or a mapping."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

from commonpool.errors import ConfigError

PREFIX = "COMMONPOOL_"
NO_KNOBS = frozenset({"COMMONPOOL_DOCTOR"})
"""Variables of that name that are not for the pool: what becomes of a start that the doctor finds
fault with."""

# Numbers above these are slips of the finger, not sizes: each thread takes 8 MiB of address space.
MOST_WORKERS = 10_000
MOST_WAITING = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How large the pool is, and how it behaves at its limits.

    Attributes:
        max_workers: threads in this process.
        max_workers_per_request: workers that one owner may use at a time; `None` for all of them.
        max_queue: waiting tasks in this process; `None` for 4 x `max_workers` (the ratio that
            Rails' ``load_async`` uses).
        overflow: what happens to a task for which the queue has no room: ``"caller_runs"`` runs
            it in the thread that submits it, ``"reject"`` raises `PoolSaturated`.
        deadline: seconds for a request, `math.inf` for no limit; `None` for what the server says
            (nine tenths of uWSGI's ``harakiri``, else no limit).
        drain_timeout: seconds that started and background work may take when the process exits.
        max_coroutines: coroutines that are under way at a time in this process, besides one for
            each caller that waits, and what coroutines submit (see `commonpool.ext.asyncio`).
        offload: what runs offloaded calls (see `commonpool.ext.offload`): ``"local"``, processes
            of this machine; ``"dask://host:port"``, a Dask cluster; ``"caller"``, who waits.
        offload_workers: processes for offloaded calls that this process may have; `None` for as
            many as it may use processors.
        offload_fallback: what becomes of a call while the Dask cluster is away: ``"error"`` raises
            `OffloadUnavailable`, ``"local"`` has a process of this machine run it.

    Raises:
        ConfigError: a value is of the wrong type, or out of its range.
    """

    max_workers: int = 32
    max_workers_per_request: int | None = None
    max_queue: int | None = None
    overflow: Literal["caller_runs", "reject"] = "caller_runs"
    deadline: float | None = None
    drain_timeout: float = 10.0
    max_coroutines: int = 1000
    offload: str = "local"
    offload_workers: int | None = None
    offload_fallback: Literal["error", "local"] = "error"

    def __post_init__(self) -> None:
        check(dataclasses.asdict(self), spelling=str)

    @property
    def waiting_places(self) -> int:
        """How many tasks may wait in the queue."""
        return 4 * self.max_workers if self.max_queue is None else self.max_queue

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> PoolConfig:
        """The config that the ``COMMONPOOL_*`` variables describe; an empty one counts as unset.

        Raises:
            ConfigError: a value is wrong, or a ``COMMONPOOL_`` variable is not a known one.
        """
        return cls.from_settings(environ)

    @classmethod
    def from_mapping(cls, knobs: Mapping[str, object]) -> PoolConfig:
        """The config that a mapping of knobs to values describes; text is read as a number.

        Raises:
            ConfigError: a value is wrong, or a name is not a known one.
        """
        return cls._read(knobs, spelling=str, over={})

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, object], over: PoolConfig | None = None
    ) -> PoolConfig:
        """The config that the ``COMMONPOOL_*`` entries of some settings describe.

        Args:
            settings: all else in it is left alone; an empty text counts as unset.
            over: where the values come from that are not set.

        Raises:
            ConfigError: a value is wrong, or a ``COMMONPOOL_`` name is not a known one.
        """
        knobs = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in settings.items()
            if name.startswith(PREFIX)
            and name not in NO_KNOBS
            and not (isinstance(value, str) and not value.strip())
        }
        return cls._read(
            knobs,
            spelling=lambda knob: PREFIX + knob.upper(),
            over={} if over is None else dataclasses.asdict(over),
        )

    @classmethod
    def _read(
        cls,
        knobs: Mapping[str, object],
        *,
        spelling: Callable[[str], str],
        over: Mapping[str, object],
    ) -> PoolConfig:
        for name in knobs:
            if name not in KNOBS:
                raise ConfigError(unknown(str(name), spelling))
        values: dict[str, Any] = dict(over)
        for name, value in knobs.items():
            values[name] = from_text(name, value, spelling)
        check({**DEFAULTS, **values}, spelling=spelling)
        return cls(**values)


def whole(value: object, most: object) -> bool:
    """Whether this is a whole number from 1 to `most`."""
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and isinstance(most, int)
        and 1 <= value <= most
    )


def seconds(value: object, least: float, most: float) -> bool:
    """Whether this is a number from `least` to `most`; NaN is in no range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return least <= float(value) <= most
    except OverflowError:  # a whole number beyond all floats
        return False


def place_to_offload(value: object) -> bool:
    """Whether this names what runs offloaded calls; a cluster only where its client is there."""
    if not isinstance(value, str):
        return False
    if value in ("local", "caller"):
        return True
    try:
        parts = urlsplit(value)
        has_port = bool(parts.port)
    except ValueError:
        return False
    is_plain = value == f"dask://{parts.netloc}" and parts.username is None
    return is_plain and has_port and bool(parts.hostname) and find_spec("distributed") is not None


# For each knob: what its value must be, and whether a value is that (beside all the others).
KNOBS: dict[str, tuple[str, Callable[[object, Mapping[str, object]], bool]]] = {
    "max_workers": (
        f"a whole number from 1 to {MOST_WORKERS}",
        lambda value, _: whole(value, MOST_WORKERS),
    ),
    "max_workers_per_request": (
        "a whole number from 1 to max_workers, or None for all workers",
        lambda value, all_: value is None or whole(value, all_["max_workers"]),
    ),
    "max_queue": (
        f"a whole number from 1 to {MOST_WAITING}, or None for 4 x max_workers",
        lambda value, _: value is None or whole(value, MOST_WAITING),
    ),
    "overflow": (
        "'caller_runs' or 'reject'",
        lambda value, _: value in ("caller_runs", "reject"),
    ),
    "deadline": (
        "a number of seconds above 0, inf for no limit, or None for the server's",
        lambda value, _: value is None or seconds(value, math.ulp(0.0), math.inf),
    ),
    "drain_timeout": (
        "a number of seconds, 0 or more, and not inf",
        lambda value, _: seconds(value, 0, math.nextafter(math.inf, 0)),
    ),
    "max_coroutines": (
        f"a whole number from 1 to {MOST_WAITING}",
        lambda value, _: whole(value, MOST_WAITING),
    ),
    "offload": (
        "'local', 'caller', or 'dask://host:port' with distributed installed (commonpool[dask])",
        lambda value, _: place_to_offload(value),
    ),
    "offload_workers": (
        f"a whole number from 1 to {MOST_WORKERS}, or None for one for each usable processor",
        lambda value, _: value is None or whole(value, MOST_WORKERS),
    ),
    "offload_fallback": (
        "'error' or 'local'",
        lambda value, _: value in ("error", "local"),
    ),
}
TEXTS = ("overflow", "offload", "offload_fallback")
DEFAULTS: dict[str, object] = {knob.name: knob.default for knob in dataclasses.fields(PoolConfig)}


def unknown(name: str, spelling: Callable[[str], str]) -> str:
    """What to say of a setting that does not exist: the nearest one that does."""
    nearest = difflib.get_close_matches(name, KNOBS, n=1, cutoff=0.5)
    meant = f" Did you mean {spelling(nearest[0])}?" if nearest else ""
    known = ", ".join(spelling(knob) for knob in KNOBS)
    return f"{spelling(name)} is not a setting of commonpool.{meant} There are {known}."


def from_text(knob: str, value: object, spelling: Callable[[str], str]) -> object:
    """A value as it stands in a variable, as the type that its knob has.

    Raises:
        ConfigError: it is not the text of a number where there has to be one.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() == "none" and DEFAULTS[knob] is None:
        return None
    if knob in TEXTS:
        return text
    with contextlib.suppress(ValueError):
        if text.isascii() and "_" not in text:  # Python would read 1_0 too, and other digits
            return float(text) if knob in ("deadline", "drain_timeout") else int(text)
    raise ConfigError(f"{spelling(knob)}={value!r}: must be {KNOBS[knob][0]}.")


def check(values: Mapping[str, object], *, spelling: Callable[[str], str]) -> None:
    """Raise `ConfigError` for the first value that is not what its knob takes."""
    for knob, (words, fits) in KNOBS.items():
        if not fits(values[knob], values):
            beside = f" (max_workers is {values['max_workers']})" if "max_workers," in words else ""
            raise ConfigError(f"{spelling(knob)}={shown(values[knob])}: must be {words}{beside}.")


def shown(value: object) -> str:
    """A value for an error."""
    try:
        return repr(value)
    except ValueError:  # Python does not write whole numbers of thousands of digits
        return "a whole number of thousands of digits"
