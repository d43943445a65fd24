"""nginx in front of each peer: the clients speak to all of them in the same way."""

from __future__ import annotations

import getpass
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from stack.native.child import Child
from stack.native.errors import NativeError, log_tail
from stack.native.ports import HOST, answers, free_port
from stack.native.programs import find_program

_TEMPLATE = Path(__file__).with_name("nginx.conf.template")
_PARAMETERS = Path(__file__).with_name("uwsgi_params.conf")

_PASS = {
    "uwsgi": f"include {_PARAMETERS};\n      uwsgi_pass peer;\n      uwsgi_read_timeout 90s;",
    "http": "proxy_pass http://peer;\n      proxy_http_version 1.1;\n"
    '      proxy_set_header Connection "";\n      proxy_read_timeout 90s;',
}

_START_LIMIT = 10.0  # seconds; usually a tenth
_STOP_GRACE = 5.0  # seconds: there are no clients any more


@contextmanager
def front(folder: Path, socket: Path, protocol: str) -> Iterator[str]:
    """Run nginx, and yield where it answers, without a slash at the end.

    Args:
        folder: for its files; it is there.
        socket: where the peer listens.
        protocol: what the peer speaks there: ``uwsgi`` or ``http``.

    Raises:
        NativeError: nginx is not installed, or does not start.
    """
    program, port = find_program("nginx"), free_port()
    config = folder / "nginx.conf"
    config.write_text(
        # nginx's own variables have no braces in the template.
        Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
            FOLDER=folder, SOCKET=socket, LISTEN=f"{HOST}:{port}", PASS=_PASS[protocol]
        ),
        encoding="utf-8",
    )
    command = [program, "-p", f"{folder}/", "-c", str(config), "-e", str(folder / "error.log")]
    if os.geteuid() == 0:
        # Else the worker processes become `nobody`, who cannot open the peer's socket.
        command += ["-g", f"user {getpass.getuser()};"]
    child = Child("nginx", command, log=folder / "nginx.log")
    try:
        try:
            child.wait_ready(lambda: answers(port), _START_LIMIT)
        except NativeError as error:
            raise NativeError(f"{error}{log_tail(folder / 'error.log')}") from None
        yield f"http://{HOST}:{port}"
    finally:
        child.stop(signal.SIGQUIT, _STOP_GRACE)
