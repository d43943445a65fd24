"""The commands, each of which imports what it needs when it is asked for."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from commonpool.cli import COULD_NOT_LOOK, INTERRUPTED, needs

# Where each is, and its short help, for which it need not be imported: its extra may be missing.
_COMMANDS = {
    "doctor": ("commonpool.cli.doctor", "Find what does not go together in the stack's files."),
    "tune": ("commonpool.cli.tune", "Find the sizes of uwsgi.ini by measurement."),
    "plan": ("commonpool.cli.plan", "Say what a load takes that was not measured."),
}


class _MissingError(click.ClickException):
    exit_code = COULD_NOT_LOOK

    def show(self, file: Any = None) -> None:
        click.echo(self.format_message(), file=file or sys.stderr)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C wait: an import that it ends halfway is told as any other mistake."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        try:
            with _without_ctrl_c():
                command = import_module(_COMMANDS[cmd_name][0]).command
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "commonpool":
                raise
            raise _MissingError(needs(error.name)) from None
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="commonpool")
def commands() -> None:
    """Look at a WSGI application's stack, and size it by measurement."""
