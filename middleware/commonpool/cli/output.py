"""Standard output that nobody reads any more, and arguments that are wrong: as all commands do."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from commonpool.cli import COULD_NOT_LOOK


class UsedWronglyError(click.ClickException):
    """A mistake in the arguments: one line, and the exit status for what could not be done."""

    exit_code = COULD_NOT_LOOK

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self._command = command

    def show(self, file: Any = None) -> None:
        """Write the line."""
        click.echo(f"commonpool {self._command}: {self.format_message()}", file=file or sys.stderr)


class StrictCommand(click.Command):
    """A command that ends with `COULD_NOT_LOOK` where its arguments are wrong."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, as click does.

        Raises:
            UsedWronglyError: an argument is wrong or missing.
        """
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise UsedWronglyError(
                str(self.name), f"{error.format_message()} (see --help)"
            ) from None


class PatientConsole(Console):
    """Goes on in silence where nobody reads any more (`| head -1`): there is the exit status."""

    def on_broken_pipe(self) -> None:
        """Write nothing from now on."""
        self.quiet = True
        discard_output()


def require_output() -> None:
    """Make standard output one that takes everything: closed (`>&-`), or of few characters."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Write what is still to come of standard output to nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
