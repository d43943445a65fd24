"""The commands, each of which imports what it needs when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = {
    "doctor": "commonpool.cli.doctor",
    "tune": "commonpool.cli.tune",
    "plan": "commonpool.cli.plan",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = _COMMANDS.get(cmd_name)
        command = None if module is None else import_module(module).command
        assert command is None or isinstance(command, click.Command)  # noqa: S101
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="commonpool")
def commands() -> None:
    """Look at a WSGI application's stack, and size it by measurement."""
