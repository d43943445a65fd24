"""One id for each request: taken or made, given back, and put into the log."""

from __future__ import annotations

import logging
import re
import uuid
from typing import TYPE_CHECKING

from flask import has_request_context, request

if TYPE_CHECKING:
    from flask import Flask, Response

HEADER = "X-Request-Id"

_KEY = "stack.request_id"
_SANE = re.compile(r"[A-Za-z0-9._:=+/-]{1,128}")  # nginx's $request_id is 32 hex digits


def init_app(app: Flask) -> None:
    """Give each request of ``app`` an id, and each record of its logger the attribute."""
    app.before_request(_take_or_make)
    app.after_request(_give_back)
    app.logger.addFilter(RequestIdFilter())


def current_request_id() -> str:
    """Return the id of the request at hand; ``-`` outside of one."""
    if not has_request_context():
        return "-"
    # In the environ, not in g: the tasks of a request have a g of their own.
    return str(request.environ.get(_KEY, "-"))


class RequestIdFilter(logging.Filter):
    """Sets ``request_id`` on every record; put it on a handler to use it in a format."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark the record, and let it pass."""
        record.request_id = current_request_id()
        return True


def _take_or_make() -> None:
    given = request.headers.get(HEADER, "")
    request.environ[_KEY] = given if _SANE.fullmatch(given) else uuid.uuid4().hex


def _give_back(response: Response) -> Response:
    response.headers[HEADER] = current_request_id()
    return response
