"""``python -m stack.native.check_nginx``: what `make check` does with nginx's configuration.

It needs the dependency group `check`; nginx itself where it is installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from stack.native import nginx
from stack.native.errors import NativeError

_LIMIT = 60.0  # seconds for each program; usually below one


def main() -> int:
    """Have gixy and ``nginx -t`` look at the configuration, laid out with all that it can have.

    Returns:
        The exit status: 0, or 1 where one of them finds something, after it was printed.
    """
    with tempfile.TemporaryDirectory(prefix="commonpool-nginx-") as name:
        prefix = Path(name)
        tls = _certificate(prefix)
        settings = {"TRUSTED_PROXIES": "set_real_ip_from 10.0.0.0/8;"}
        servers = (
            "server 10.0.0.2:3031 max_fails=1 fail_timeout=2s;\n"
            "server 10.0.0.3:3031 max_fails=1 fail_timeout=2s;\n"
        )
        config = nginx.lay_out(prefix, port=8080, servers=servers, settings=settings, tls=tls)
        found = _run(Path(sys.executable).with_name("gixy"), config)
        try:
            command = nginx.prepare(
                prefix, port=8080, uwsgi_socket=prefix / "uwsgi.sock", settings=settings, tls=tls
            )
        except NativeError as error:
            sys.stderr.write(f"nginx -t was left out: {error}\n")
        else:
            found = _run(*command, "-t") or found
    return int(found)


def _certificate(folder: Path) -> nginx.TLS:
    subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-m", "trustme", "--quiet", "--dir", folder, "--identities", "localhost"],
        check=True,
        timeout=_LIMIT,
    )
    return nginx.TLS(8443, folder / "server.pem", folder / "server.key")


def _run(*command: str | Path) -> bool:
    """Run a program, print what it said where it found something, and return whether it did."""
    done = subprocess.run(  # noqa: S603 (our own programs)
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_LIMIT,
    )
    found = done.returncode != 0 or "[warn]" in done.stdout
    if found:
        sys.stderr.write(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
