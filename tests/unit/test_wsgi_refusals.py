"""PoolSaturated and DeadlineExceeded become 503 and 504, unless something was sent before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from commonpool import CommonPoolMiddleware, DeadlineExceeded, PoolSaturated
from tests.unit.wsgi_helpers import TEXT, Closing, ask_directly, serving

REFUSED = [
    (PoolSaturated("9 of 9 taken"), "503 Service Unavailable"),
    (DeadlineExceeded("0.3 s ago"), "504 Gateway Timeout"),
]


def raises_before_start(error: Exception) -> Any:
    def app(_: Any, __: Any) -> list[bytes]:
        raise error

    return app


def raises_after_start(error: Exception) -> Any:
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("Content-Length", "1000")])
        raise error

    return app


def raises_at_the_first_chunk(error: Exception) -> Any:
    return serving(Closing(error))


def raises_in_a_generator_before_start(error: Exception) -> Any:
    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        if error:
            raise error
        start_response("200 OK", TEXT)
        yield b""

    return app


BEFORE_ANYTHING_IS_SENT = [
    raises_before_start,
    raises_after_start,
    raises_at_the_first_chunk,
    raises_in_a_generator_before_start,
]


@pytest.mark.parametrize("app", BEFORE_ANYTHING_IS_SENT)
@pytest.mark.parametrize(("error", "status"), REFUSED)
def test_before_anything_is_sent_it_becomes_a_short_plain_answer(way, app, error, status):
    answer = way.ask(app(error))
    assert (answer.status, answer.error) == (status, None)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert len(answer.body) < 80


@pytest.mark.parametrize("app", BEFORE_ANYTHING_IS_SENT)
def test_a_503_says_when_to_come_back(way, app):
    assert way.ask(app(PoolSaturated("full"))).headers["Retry-After"] == "1"


def test_retry_after_is_what_the_error_says():
    error = PoolSaturated("full")
    error.retry_after = 30
    answer = ask_directly(CommonPoolMiddleware(raises_before_start(error)))
    assert answer.headers["Retry-After"] == "30"
    assert b"30 s" in answer.body


def test_the_answer_tells_a_client_none_of_the_numbers(way):
    answer = way.ask(raises_before_start(REFUSED[0][0]))
    assert answer.status == "503 Service Unavailable"
    assert b"9 of 9" not in answer.body


def test_the_numbers_are_logged(caplog):
    ask_directly(CommonPoolMiddleware(raises_before_start(REFUSED[0][0])))
    assert "503 Service Unavailable: 9 of 9 taken" in caplog.text


@pytest.mark.parametrize("app", [raises_before_start, raises_at_the_first_chunk])
def test_the_answer_to_head_has_no_body(way, app):
    answer = way.ask(app(PoolSaturated("full")), "HEAD")
    assert (answer.status, answer.body) == ("503 Service Unavailable", b"")


@pytest.mark.parametrize(("error", "status"), REFUSED)
def test_an_empty_chunk_is_nothing_sent(error, status):
    answer = ask_directly(CommonPoolMiddleware(serving(Closing(b"", b"", error))))
    assert (answer.status, answer.error) == (status, None)


@pytest.mark.parametrize(("error", "_"), REFUSED)
def test_after_a_chunk_was_sent_it_reaches_the_server(way, error, _):
    answer = way.ask(serving(Closing(b"sent", error)))
    assert (answer.status, answer.body) == ("200 OK", b"sent")
    assert answer.error is error


@pytest.mark.parametrize(("error", "_"), REFUSED)
def test_after_write_the_server_raises_it_again(way, error, _):
    def app(__: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)(b"written")
        raise error

    answer = way.ask(app)
    assert (answer.status, answer.body) == ("200 OK", b"written")
    assert answer.error is error


@pytest.mark.parametrize(("error", "_"), REFUSED)
def test_after_write_an_error_in_a_step_is_raised_again_too(way, error, _):
    def app(__: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)(b"written")
        return Closing(error)

    answer = way.ask(app)
    assert (answer.body, answer.error) == (b"written", error)
