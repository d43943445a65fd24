"""The program ``commonpool``: ``doctor``, ``tune`` and ``plan``."""

from __future__ import annotations

import sys

COULD_NOT_LOOK = 3
"""The exit status where what was asked for could not be looked at or done."""

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 and the number of SIGINT."""


def needs(module: str) -> str:
    """What to say where a module is missing that an extra would install."""
    return (
        f"commonpool: the command needs {module}: pip install 'commonpool[doctor]' for doctor, "
        "'commonpool[tune]' for tune and plan"
    )


def main() -> None:
    """Run the command that the arguments name; what it needs is installed with its extra."""
    try:
        from commonpool.cli.commands import commands  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "commonpool":
            raise
        sys.stderr.write(f"{needs(error.name)}\n")
        sys.exit(COULD_NOT_LOOK)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    commands(prog_name="commonpool")
