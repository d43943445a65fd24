"""Errors as answers: a page for people, JSON for programs, and no traceback for either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import current_app, jsonify, render_template, request
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as CheckoutTimeoutError
from werkzeug.exceptions import HTTPException

from commonpool import DeadlineExceeded, PoolSaturated
from stack.data.errors import database_message, error_number
from stack.data.urls import database_file

if TYPE_CHECKING:
    from flask import Flask, Response

_JSON_PATHS = ("/api/", "/sleep/", "/healthz")

_NO_SUCH_TABLE = 1146
_STATEMENT_TIMEOUT = {1969, 3024}  # MariaDB's and MySQL's

_NOT_LOADED = "The flights are not loaded yet. Load them with: python -m stack load"
_DATABASE_DOWN = "The database does not answer. Please try again in a moment."
_NO_CONNECTION = "No connection to the database was free in time. Please try again in a moment."
_STATEMENT_TOO_LONG = "A query took longer than a query may."
_DEADLINE = "The request took longer than a request may."
_SATURATED = "Too much is going on at the moment. Please try again in a moment."

_RETRY_SECONDS = 5


def init_app(app: Flask) -> None:
    """Have ``app`` answer errors as this module says."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(SQLAlchemyError, _database_error)
    app.register_error_handler(PoolSaturated, _saturated)
    app.register_error_handler(DeadlineExceeded, _deadline_exceeded)


def _http_error(error: HTTPException) -> Response:
    if error.response is not None:
        return current_app.make_response(error.response)
    response = _answer(error.code or 500, error.name, error.description or "")
    # What else the error says in its headers, such as Allow.
    names = {"content-type", "content-length"}
    extra = [(name, value) for name, value in error.get_headers() if name.lower() not in names]
    response.headers.extend(extra)
    return response


def _database_error(error: SQLAlchemyError) -> Response:
    if isinstance(error, CheckoutTimeoutError):
        current_app.logger.warning("No free connection: %s", error)
        return _answer(503, "The database is busy", _NO_CONNECTION, retry=_RETRY_SECONDS)
    if not isinstance(error, DBAPIError):
        current_app.logger.error("A query could not be made", exc_info=error)
        return _answer(500, "Internal Server Error", "A query could not be made.")
    message = database_message(error)
    if _is_not_loaded(error, message):
        return _answer(503, "No flights yet", _NOT_LOADED, retry=_RETRY_SECONDS)
    current_app.logger.error("The database failed: %s", message)
    if error_number(error) in _STATEMENT_TIMEOUT:
        return _answer(504, "That took too long", _STATEMENT_TOO_LONG)
    return _answer(503, "The database is down", _DATABASE_DOWN, retry=_RETRY_SECONDS)


def _is_not_loaded(error: DBAPIError, message: str) -> bool:
    """Tell whether there is no data: no table, or with SQLite no file."""
    if error_number(error) == _NO_SUCH_TABLE or "no such table" in message:
        return True
    url = current_app.extensions["stack.settings"].database_url
    return "unable to open database file" in message and not database_file(url).exists()


def _saturated(error: PoolSaturated) -> Response:
    return _answer(503, "Too busy", _SATURATED, retry=error.retry_after)


def _deadline_exceeded(_error: DeadlineExceeded) -> Response:
    return _answer(504, "That took too long", _DEADLINE)


def _answer(status: int, title: str, message: str, *, retry: int | None = None) -> Response:
    if request.path.startswith(_JSON_PATHS):
        response = jsonify(status=status, error=title, message=message)
    else:
        page = render_template("error.html", title=title, message=message, status=status)
        response = current_app.make_response(page)
    response.status_code = status
    if retry is not None:
        response.headers["Retry-After"] = str(retry)
    return response
