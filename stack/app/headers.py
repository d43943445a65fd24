"""Headers of every answer: what browsers may do with it, and for how long it may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request

if TYPE_CHECKING:
    from flask import Flask, Response

# Everything that a page shows comes from /static/ or is in the page: nothing else is let in.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
)


def init_app(app: Flask) -> None:
    """Set the headers on each response of ``app``."""
    app.after_request(_set_headers)


def _set_headers(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", _POLICY)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")  # a page is a measurement
    return response
