"""The Docker Engine, and the stack on it: `docker` and `docker compose`, run as a person would."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

MINUTES = 60.0

APPLICATION, NGINX = "commonpool-test-app", "commonpool-test-nginx"
"""The images of the tests: those of a stack that runs on this engine stay what they are."""

SETTINGS = ("COMPOSE_", "COMMONPOOL_", "STACK_", "MARIADB_", "NGINX_", "CLIENT_", "HTTP_", "TLS_")


def docker(*arguments: str, check: bool = True, limit: float = 5 * MINUTES) -> str:
    """Run `docker`, and return what it prints; with what it says of an error, where it fails."""
    return run(["docker", *arguments], check=check, limit=limit).stdout


def run(
    command: list[str],
    *,
    check: bool = True,
    limit: float = 5 * MINUTES,
    environ: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run a command, and say what it said where it fails."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=limit,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
    return done


def engine_is_there() -> str | None:
    """Why there is no engine with Compose to be used; `None` where there is one."""
    for command in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(command)}: {error}"
        if done.returncode:
            return f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}"
    return None


@dataclass
class Container:
    """One container, as `docker inspect` shows it."""

    name: str
    about: dict[str, Any] = field(repr=False)

    @property
    def service(self) -> str:
        """Of which service it is one."""
        return str(self.about["Config"]["Labels"]["com.docker.compose.service"])

    @property
    def running(self) -> bool:
        """Whether it runs now, or ran when it was looked at."""
        return bool(self.about["State"]["Running"])

    def execute(self, *command: str, check: bool = True) -> str:
        """Run a command in it, and return what that prints."""
        return docker("exec", self.name, *command, check=check)


class Stack:
    """The project's own docker-compose.yml, under a name and on a port of its own.

    Args:
        name: of the Compose project.
        port: for nginx, on 127.0.0.1.
        settings: what .env would hold.
        files: Compose files beside docker-compose.yml.
        folder: where the project is.
    """

    def __init__(
        self,
        name: str,
        port: int,
        settings: Mapping[str, str] | None = None,
        files: tuple[str, ...] = (),
        folder: Path = ROOT,
    ) -> None:
        self.name = name
        self.port = port
        self.folder = folder
        self._files = ["docker-compose.yml", *files]
        kept = {n: v for n, v in os.environ.items() if not n.startswith(SETTINGS)}
        own = {"HTTP_PORT": str(port), "APP_IMAGE": APPLICATION, "NGINX_IMAGE": NGINX}
        self._environ = kept | own | dict(settings or {})

    @property
    def url(self) -> str:
        """Where nginx answers."""
        return f"http://127.0.0.1:{self.port}"

    def compose(
        self, *arguments: str, check: bool = True, limit: float = 10 * MINUTES, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with these arguments, and with other settings for this once."""
        command = ["docker", "compose", "--project-name", self.name, "--ansi", "never"]
        for file in self._files:
            command += ["--file", file]
        return run(
            [*command, *arguments],
            check=check,
            limit=limit,
            environ=self._environ | settings,
            cwd=self.folder,
        )

    def up(self, *arguments: str, **settings: str) -> None:
        """Start what is not started, and wait until all of it is well."""
        try:
            self.compose("up", "--detach", "--wait", *arguments, **settings)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def down(self, *arguments: str) -> None:
        """Remove the containers and networks; with ``--volumes``, the data."""
        self.compose("--profile", "*", "down", "--timeout", "10", "--remove-orphans", *arguments)

    def containers(self, *services: str) -> list[Container]:
        """All containers, also those that have ended, of these services or of all."""
        listed = self.compose("ps", "--all", "--quiet", *services).stdout.split()
        if not listed:
            return []
        found = json.loads(docker("inspect", *listed))
        return [Container(about["Name"].lstrip("/"), about) for about in found]

    def container(self, service: str) -> Container:
        """The only one of a service."""
        (container,) = self.containers(service)
        return container

    def logs(self, *services: str) -> str:
        """What they have printed so far."""
        return self.compose("logs", "--no-color", "--no-log-prefix", *services).stdout

    def access_log(self) -> list[dict[str, Any]]:
        """What nginx has written of requests so far."""
        lines = self.logs("nginx").splitlines()
        return [json.loads(line[line.index("{") :]) for line in lines if '{"time"' in line]
