"""How long a request waited for a thread: from when nginx handed it on, to the application."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from flask import request

if TYPE_CHECKING:
    from flask import Flask, Response

HEADER = "X-Request-Start"
"""What nginx sets, in the place of a client's: ``t=1700000000.123``, in seconds."""

_KEY = "stack.queue_seconds"
_FORM = re.compile(r"t=([0-9]{1,12}(?:\.[0-9]{1,6})?)")
_MOST = 60.0  # seconds; nginx waits 35 s for an answer, so what is longer is no waiting time


def init_app(app: Flask) -> None:
    """Have each response of ``app`` tell in ``Server-Timing`` how long its request waited."""
    app.before_request(_note)
    app.after_request(_tell)


def queue_seconds(header: str, now: float) -> float | None:
    """Return how many seconds a request waited.

    Args:
        header: what `HEADER` says.
        now: when the application got it, by ``time.time``.

    Returns:
        None where the header is missing or means nothing: of another form, from the future or from
        long ago, as where clocks differ.
    """
    found = _FORM.fullmatch(header)
    if found is None:
        return None
    waited = now - float(found[1])
    return waited if 0 <= waited <= _MOST else None


def _note() -> None:
    # In the environ, as the request's id: g is another one in each task.
    request.environ[_KEY] = queue_seconds(request.headers.get(HEADER, ""), time.time())


def _tell(response: Response) -> Response:
    waited = request.environ.get(_KEY)
    if waited is not None:
        response.headers.add("Server-Timing", f"queue;dur={waited * 1000:.1f}")
    return response
