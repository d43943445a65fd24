"""``python -m stack``: the commands of the reference stack."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT


def main() -> int:
    """Run the command that the arguments name, and return the exit status.

    Errors of use and of the surroundings are one line on standard error; Ctrl-C is one line, too,
    and gives 130.
    """
    try:
        # Imported here so that a Ctrl-C while SQLAlchemy is being imported is one line as well.
        import click  # noqa: PLC0415

        from stack.data.command import load_command  # noqa: PLC0415
    except KeyboardInterrupt:
        return _interrupted()

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    def stack() -> None:
        """Run the reference stack of commonpool."""

    stack.add_command(load_command)
    try:
        stack.main(prog_name="python -m stack", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    return 0


def _interrupted() -> int:
    sys.stderr.write("\nInterrupted; nothing is half done.\n")
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
