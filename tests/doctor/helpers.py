"""The command as it is typed, in this process."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from commonpool.cli.commands import commands


@dataclass(frozen=True)
class Said:
    """What a command has written, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def found(self) -> list[str]:
        """The ids of what is not OK."""
        return sorted(one["id"] for one in self.json["findings"] if one["level"] != "OK")


def doctor(*arguments: object, encoding: str = "utf-8") -> Said:
    """Run ``commonpool doctor`` in the current folder."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    err = io.StringIO()
    status = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            commands.main(["doctor", *map(str, arguments)], prog_name="commonpool")
        except SystemExit as end:
            status = int(end.code or 0)
    out.flush()
    return Said(status, out.buffer.getvalue().decode(encoding), err.getvalue())
