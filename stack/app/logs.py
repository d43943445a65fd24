"""The log of a server process: one line for each record, with the id of its request."""

from __future__ import annotations

import logging

from stack.app.request_ids import RequestIdFilter

_FORMAT = "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"


def configure() -> None:
    """Send the log of this process to standard error, where the server takes it.

    Not called by ``create_app``: a factory has no say in its process.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(RequestIdFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
