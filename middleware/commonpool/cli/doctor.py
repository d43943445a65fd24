"""``commonpool doctor``: reads the chain, draws it, and tells what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.text import Text

from commonpool.chain.model import Chain
from commonpool.chain.reading import read_chain
from commonpool.cli.output import PatientConsole, StrictCommand, UsedWronglyError, require_output
from commonpool.doctor import examine
from commonpool.doctor.picture import ASCII, BOXES, picture
from commonpool.doctor.report import Line, as_json, asked_for, folded, lines, status
from commonpool.doctor.secrets import Secrets

_WIDTH = 80
_NARROWEST = 40
_INTERRUPTED = 130
_STYLES = {"FAIL": "bold red", "WARN": "bold yellow", "OK": "green", "dim": "dim", "fix": "bold"}

_UWSGI = ("uwsgi.ini", "uwsgi.yaml", "uwsgi.yml", "uwsgi.json")
_COMPOSE = ("docker-compose.yml", "docker-compose.yaml", "compose.yaml", "compose.yml")


class CouldNotLookError(UsedWronglyError):
    """What was asked for cannot be done."""

    def __init__(self, message: str) -> None:
        super().__init__("doctor", message)


@click.command("doctor", cls=StrictCommand)
@click.argument("uwsgi", required=False, metavar="[UWSGI.INI]")
@click.option("--nginx", metavar="FILE", help="nginx's configuration: nginx.conf, or its folder.")
@click.option("--url", metavar="URL", help="The running site, which is asked for once.")
@click.option(
    "--database", metavar="URL", help="The database, to which one connection is made: mysql://..."
)
@click.option("--compose", metavar="FILE", help="A compose file.")
@click.option(
    "--load",
    is_flag=True,
    help="Import the application, in a process of its own, to see its engine.",
)
@click.option("--json", "in_json", is_flag=True, help="Findings as JSON, for programs.")
@click.option("--quiet", is_flag=True, help="No picture, and nothing where all is well.")
@click.option("--all", "every", is_flag=True, help="What is well, too, with what was seen.")
def command(
    uwsgi: str | None,
    nginx: str | None,
    url: str | None,
    database: str | None,
    compose: str | None,
    *,
    load: bool,
    in_json: bool,
    quiet: bool,
    every: bool,
) -> NoReturn:
    """Find what does not go together between nginx, uWSGI, the pool and the database.

    Without arguments it reads uwsgi.ini, docker-compose.yml and nginx/ in the current folder, as
    far as they are there. It changes nothing.

    Exit status: 0, all is well; 1, warnings: what may cost requests; 2, failures: what does;
    3, something that was asked for could not be looked at.
    """
    try:
        require_output()
        is_here = _are_here(uwsgi, nginx, compose)
        is_named = compose is not None
        uwsgi = uwsgi or (_there(*_UWSGI) if is_here else None)
        compose = compose or (_there(*_COMPOSE) if is_here else None)
        nginx = _nginx(nginx) if nginx or is_here else None
        files = [name for name in (uwsgi, nginx, compose) if name]
        if not files and not url and not database:
            raise CouldNotLookError(
                "nothing to look at: no uwsgi.ini, docker-compose.yml or nginx/nginx.conf in "
                f"{Path.cwd()}; name a file (see --help)"
            )
        chain = read_chain(
            uwsgi=uwsgi, nginx=nginx, url=url, database=database, compose=compose, load=load
        )
        secrets = Secrets(_variables(chain), (url, database))
        sys.exit(
            tell(
                chain,
                files,
                secrets=secrets,
                load=load,
                compose=is_named or uwsgi is None,
                in_json=in_json,
                quiet=quiet,
                every=every,
            )
        )
    except OSError as error:
        raise CouldNotLookError(f"cannot go on: {error}") from None
    except KeyboardInterrupt:
        click.echo("commonpool doctor: interrupted", err=True)
        sys.exit(_INTERRUPTED)


def tell(
    chain: Chain,
    files: Sequence[str],
    *,
    secrets: Secrets,
    load: bool = False,
    compose: bool = True,
    in_json: bool = False,
    quiet: bool = False,
    every: bool = False,
) -> int:
    """Write what is found in a chain to standard output, and return the exit status.

    Args:
        chain: what was read.
        files: from where, for people.
        secrets: what not to write.
        load: the application was asked for.
        compose: the compose file's service with the application was.
        in_json: for programs.
        quiet: without the picture, and nothing where all is well.
        every: what is well, too.
    """
    missed = [secrets.hidden(one) for one in chain.unreadable]
    unread = {one.file for one in chain.unreadable if not one.line}
    files = [file for file in files if file not in unread]
    unreadable = asked_for(missed, load=load, compose=compose)
    findings = [secrets.hidden(one) for one in examine(chain)]
    ends_with = status(findings, unreadable)
    if in_json:
        click.echo(as_json(findings, unreadable, [secrets.hide(file) for file in files]))
        return ends_with
    console = _console()
    width = max(_NARROWEST, console.width)
    if not quiet:
        read = ", ".join(files) or "no file"
        _write(console, folded(secrets.hide(f"commonpool doctor: read {read}"), width))
        for one in missed:
            if one not in unreadable and one.what != "pool":
                _write(console, folded(f"not looked at: {one.file}: {one.message}", width))
        _write(console, [("", "")])
        if _has_links(chain):
            drawn = picture(chain, width=width, signs=BOXES if _has_boxes() else ASCII)
            _write(console, [(secrets.hide(line), "") for line in drawn] + [("", "")])
    if not quiet or ends_with or every:
        _write(console, lines(findings, unreadable, width=width, every=every))
    return ends_with


def _has_links(chain: Chain) -> bool:
    links = (chain.uwsgi, chain.nginx, chain.compose, chain.application, chain.database, chain.site)
    return any(link is not None for link in links)


def _are_here(*names: str | None) -> bool:
    """Whether the files that were named are of the current folder, and so what is there of them."""
    here = Path.cwd().resolve()
    return all(Path(name).resolve().is_relative_to(here) for name in names if name)


def _variables(chain: Chain) -> list[tuple[str, str]]:
    """Of this process and of the application, which may tell them where it cannot be imported."""
    theirs = [link.environ for link in (chain.uwsgi, chain.compose) if link is not None]
    return [
        *os.environ.items(),
        *((name, str(setting.value)) for one in theirs for name, setting in one.items()),
    ]


def _there(*names: str) -> str | None:
    return next((name for name in names if Path(name).is_file()), None)


def _nginx(given: str | None) -> str | None:
    """The configuration that was named, or the current folder's; a folder stands for its file."""
    folder = Path("nginx" if given is None else given)
    if not folder.is_dir():
        return given or _there("nginx.conf")
    whole, others = folder / "nginx.conf", sorted(folder.glob("*.conf"))
    if given is None and not whole.is_file() and not others:
        return None
    return str(others[0] if len(others) == 1 else whole)


def _console() -> Console:
    plain = bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()
    console = PatientConsole(
        file=sys.stdout,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        color_system=None if plain else "auto",
    )
    if "COLUMNS" not in os.environ and not sys.stdout.isatty():
        console.width = _WIDTH
    return console


def _has_boxes() -> bool:
    try:
        "".join(dataclasses.astuple(BOXES)).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _write(console: Console, told: Iterable[Line]) -> None:
    encoding = sys.stdout.encoding or "ascii"
    for line, style in told:
        safe = line.encode(encoding, "backslashreplace").decode(encoding)
        console.print(Text(safe, _STYLES.get(style, "")))
