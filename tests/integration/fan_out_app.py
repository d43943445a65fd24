"""A WSGI application without Flask or a database, that starts quickly: three tasks a request.

    /?seconds=0.1     each task sleeps for so long

With the variable FAN_OUT_CLOCK, `time.time` goes back by an hour in the midst of each task.
"""

from __future__ import annotations

import json
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

HOUR = 3600.0

real_time = time.time
back = 0.0

if os.environ.get("FAN_OUT_CLOCK"):
    time.time = lambda: real_time() - back  # before anything could have taken the real one

from commonpool import CommonPoolMiddleware, run_in_parallel  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def sleep(seconds: float) -> str:
    """A task, after whose first quarter the clock is set back; the name of its thread."""
    global back  # noqa: PLW0603 - the clock is one for all
    time.sleep(seconds / 4)
    back += HOUR
    time.sleep(seconds * 3 / 4)
    return threading.current_thread().name


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer, when three tasks are done, with their threads, and by how much the clock went on."""
    seconds = float(parse_qs(environ["QUERY_STRING"]).get("seconds", ["0.01"])[0])
    before = time.time()
    names = run_in_parallel([partial(sleep, seconds)] * 3)
    body = json.dumps({"threads": names, "clock": time.time() - before}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


application = CommonPoolMiddleware(app)
