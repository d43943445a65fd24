"""Measurements in a file, ``measurements.jsonl``: a line for each, written as soon as it is made.

A line is written whole or not at all, so that what was measured before a crash can be read. Each
has a ``kind``: ``begin`` (whose measurements follow; those before it are an earlier run's),
``alone`` (what one request costs on an idle machine) and ``run`` (a load on a setting).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from commonpool.chain.measured import Measurements, Run, Sizes
from commonpool.tune.errors import TuneError

FILE = "measurements.jsonl"

_DIGITS = 7  # of a latency: 0.1 us


class Recording:
    """Appends to the file; to be closed, or used with ``with``.

    Args:
        folder: of the file; made where it is missing.
        url: what is asked for.
        ini: the file with which uWSGI is started.
        cores: of the machine.

    Raises:
        TuneError: the folder or the file cannot be written. So do all methods.
    """

    def __init__(self, folder: Path, *, url: str, ini: str, cores: int) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise _cannot_write(self.path, error) from None
        try:
            self._end_a_torn_line()
            self._append({"kind": "begin", "url": url, "ini": ini, "cores": cores})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def alone(
        self,
        unloaded: Sequence[float],
        processor_seconds_per_request: float,
        tasks_per_request: float,
    ) -> None:
        """Write what one request costs; see `Measurements`."""
        self._append(
            {
                "kind": "alone",
                "unloaded": _rounded(unloaded),
                "processor_seconds_per_request": processor_seconds_per_request,
                "tasks_per_request": tasks_per_request,
            }
        )

    def run(self, run: Run) -> None:
        """Write what became of a load."""
        told = dataclasses.asdict(run)
        self._append({"kind": "run", **told, "latencies": _rounded(run.latencies)})

    def close(self) -> None:
        """Close the file. Safe to call again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _end_a_torn_line(self) -> None:
        end = os.lseek(self._file, 0, os.SEEK_END)
        if end and os.pread(self._file, 1, end - 1) != b"\n":
            os.write(self._file, b"\n")

    def _append(self, told: Mapping[str, Any]) -> None:
        line = json.dumps(told, separators=(",", ":")).encode() + b"\n"
        try:
            before = os.lseek(self._file, 0, os.SEEK_END)
            if os.write(self._file, line) != len(line):  # the disk is full
                os.ftruncate(self._file, before)
                raise TuneError(f"{self.path} cannot be written: no space is left for it")
        except OSError as error:
            raise _cannot_write(self.path, error) from None


def read(folder: Path | str) -> Measurements:
    """What the last `commonpool tune` into a folder has measured, as far as it came.

    Args:
        folder: its ``--output``, or the file itself.

    Raises:
        TuneError: there is no such file, or it holds something else.
    """
    path = Path(folder)
    path = path / FILE if path.is_dir() else path
    if path.exists() and not path.is_file():  # some never end
        raise TuneError(f"{path} is no regular file")
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TuneError(f"{path} cannot be read: {error.strerror}") from None
    begin: dict[str, Any] | None = None
    alone: dict[str, Any] = {}
    runs: list[Run] = []
    for number, line in enumerate(lines, start=1):
        told = _line(line)
        try:
            if told.get("kind") == "begin":
                begin, alone, runs = told, {}, []
            elif told.get("kind") == "alone":
                alone = told
            elif told.get("kind") == "run":
                runs.append(_run(told))
        except (KeyError, TypeError, ValueError) as error:
            raise TuneError(f"{path}:{number} is no measurement: {error!r}") from None
    if begin is None:
        raise TuneError(f"{path} holds no measurements of `commonpool tune`")
    try:
        return Measurements(
            url=str(begin["url"]),
            ini=str(begin["ini"]),
            cores=int(begin["cores"]),
            unloaded=tuple(alone.get("unloaded", ())),
            processor_seconds_per_request=float(alone.get("processor_seconds_per_request", 0)),
            tasks_per_request=float(alone.get("tasks_per_request", 0)),
            runs=tuple(runs),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TuneError(f"{path} is no file of measurements: {error!r}") from None


def _line(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:  # empty, or torn by a crash
        return {}
    return told if isinstance(told, dict) else {}


def _run(told: Mapping[str, Any]) -> Run:
    fields = {name: told[name] for name in _FIELDS if name in told}
    return Run(
        **{
            **fields,
            "sizes": Sizes(**told["sizes"]),
            "latencies": tuple(map(float, told["latencies"])),
            "memory": tuple(map(int, told["memory"])),
        }
    )


_FIELDS = [field.name for field in dataclasses.fields(Run)]


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(second, _DIGITS) for second in seconds]


def _cannot_write(path: Path, error: OSError) -> TuneError:
    return TuneError(f"{path} cannot be written: {error.strerror or error}")
