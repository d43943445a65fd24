"""CommonPoolMiddleware is correct WSGI for any application, and adds nothing to its responses."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from commonpool import (
    CommonPoolMiddleware,
    DeadlineExceeded,
    PoolConfig,
    PoolSaturated,
    TaskCancelled,
    current_executor,
    run_in_parallel,
)
from tests.unit.wsgi_helpers import TEXT, Closing, ask_directly, has_ended, new_environ, serving


def test_an_application_that_does_not_use_it_starts_no_thread():
    before = threading.active_count()
    answer = ask_directly(CommonPoolMiddleware(serving(iter([b"plain"])), PoolConfig(deadline=60)))
    assert (answer.body, threading.active_count()) == (b"plain", before)


def test_an_app_that_cannot_be_called_is_refused_when_the_middleware_is_made():
    with pytest.raises(TypeError, match="app must be a WSGI application, not 'app'"):
        CommonPoolMiddleware("app")


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""], [b"", b"late"], [b"a", b"", b"b"]])
def test_empty_bodies_and_empty_chunks_arrive_as_they_are(way, chunks):
    answer = way.ask(serving(Closing(*chunks)))
    assert (answer.status, answer.body) == ("200 OK", b"".join(chunks))


def test_what_is_written_and_what_is_returned_arrive_in_order(way):
    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"written, ")
        write(run_in_parallel([lambda: b"in parallel, "])[0])
        return [b"returned"]

    assert way.ask(app).body == b"written, in parallel, returned"


def test_an_application_may_start_again_with_exc_info(way):
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        try:
            run_in_parallel([lambda: 1 / 0])
        except ZeroDivisionError as error:
            exc_info = (type(error), error, error.__traceback__)
            start_response("500 Oops", TEXT, exc_info)
        return [b"sorry"]

    answer = way.ask(app)
    assert (answer.status, answer.body, answer.error) == ("500 Oops", b"sorry", None)


def test_a_response_to_head_has_no_body_of_ours(way):
    answer = way.ask(serving([]), "HEAD")
    assert (answer.status, answer.body) == ("200 OK", b"")


@pytest.mark.parametrize(
    "make",
    [
        lambda: [b"list"],
        lambda: (b"tuple",),
        lambda: io.BytesIO(b"file"),
        lambda: FileWrapper(io.BytesIO(b"wrapped")),
    ],
    ids=["list", "tuple", "file", "file_wrapper"],
)
def test_a_response_that_runs_no_code_reaches_the_server_as_the_same_object(make):
    body = make()
    environ = {**new_environ(), "wsgi.file_wrapper": FileWrapper}
    assert CommonPoolMiddleware(serving(body))(environ, lambda *_: None) is body


# Errors


@pytest.mark.parametrize("error", [KeyError("wrong"), TimeoutError("its own"), TaskCancelled("x")])
def test_an_error_of_the_application_reaches_the_server_as_itself(way, error):
    def app(_: Any, __: Any) -> list[bytes]:
        raise error

    assert way.ask(app).error is error


def test_an_error_in_a_step_reaches_the_server_as_itself(way):
    error = KeyError("wrong")
    answer = way.ask(serving(Closing(b"sent", error)))
    assert answer.error is error
    assert answer.body == b"sent"


@pytest.mark.parametrize(
    "steps",
    [
        [b"all", b"well"],
        [KeyError("at once")],
        [b"sent", KeyError("later")],
        [PoolSaturated("at once")],
        [b"sent", PoolSaturated("later")],
        [b"", DeadlineExceeded("late")],
    ],
    ids=repr,
)
def test_the_response_is_closed_exactly_once(way, steps):
    body = Closing(*steps)
    way.ask(serving(body))
    assert body.closed == 1


def test_an_error_out_of_close_reaches_the_server_after_the_request_has_ended():
    executors = []

    class Wrong(Closing):
        def close(self) -> None:
            executors.append(current_executor())
            raise KeyError("in close")

    answer = ask_directly(CommonPoolMiddleware(serving(Wrong(b"sent"))))
    assert isinstance(answer.error, KeyError)
    assert has_ended(executors[0])


def test_who_begins_a_response_anew_goes_on_where_it_was():
    body = CommonPoolMiddleware(serving(Closing(b"1", b"2", b"3")))(new_environ(), lambda *_: None)
    assert next(iter(body)) == b"1"
    assert next(body) == b"2"
    assert list(body) == [b"3"]
    assert list(body) == []
    body.close()
