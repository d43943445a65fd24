"""The application, and each step of its response, runs as its request and no other."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from commonpool import (
    CommonPoolMiddleware,
    OwnerExecutor,
    PoolSaturated,
    current_executor,
    run_in_parallel,
)
from tests.unit.wsgi_helpers import KEY, TEXT, ask_directly, has_ended, new_environ, serving


def test_the_executor_in_environ_is_the_current_one(way):
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        assert isinstance(environ[KEY], OwnerExecutor)
        return [str(environ[KEY] is current_executor()).encode()]

    assert way.ask(app).body == b"True"


def test_a_view_fans_out_and_gets_its_results_in_order(way):
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return run_in_parallel([lambda n=n: b"%d " % n for n in range(20)])

    assert way.ask(app).body == b" ".join(b"%d" % n for n in range(20)) + b" "


def test_a_generator_fans_out_in_each_step_as_its_request(way):
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for step in range(3):
            assert current_executor() is environ[KEY]
            yield b",".join(run_in_parallel([lambda s=step, n=n: b"%d%d" % (s, n) for n in (1, 2)]))
            yield b";"

    answer = way.ask(app)
    assert (answer.error, answer.body) == (None, b"01,02;11,12;21,22;")


class Steps:
    """The one step of a response, which tells whether it runs as its request."""

    environ: dict[str, Any]
    taken = False

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        if self.taken:
            raise StopIteration
        self.taken = True
        return str(current_executor() is self.environ[KEY]).encode()


class ListOfSteps(Steps, list[bytes]):
    pass


class FileOfSteps(Steps, io.RawIOBase):
    pass


@pytest.mark.parametrize("kind", [ListOfSteps, FileOfSteps])
def test_a_list_or_a_file_with_code_of_its_own_is_served_as_its_request(way, kind):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        body = kind()
        body.environ = environ
        return body

    assert way.ask(app).body == b"True"


def test_a_generator_that_is_closed_early_still_closes_as_its_request():
    seen = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        try:
            yield b"first"
        finally:
            seen.append(current_executor() is environ[KEY])

    body = CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    next(iter(body))
    body.close()
    assert seen == [True]


def test_between_two_steps_nothing_of_the_request_is_current():
    outside = current_executor()
    body = CommonPoolMiddleware(serving(iter([b"1", b"2"])))(new_environ(), lambda *_: None)
    steps = iter(body)
    assert [current_executor() for _ in steps] == [outside] * 2


def test_interleaved_responses_in_one_thread_each_run_as_their_own_request():
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for _ in range(3):
            yield str(current_executor() is environ[KEY]).encode()

    served = CommonPoolMiddleware(app)
    first, second = (iter(served(new_environ(), lambda *_: None)) for _ in range(2))
    assert [chunk for pair in zip(first, second, strict=True) for chunk in pair] == [b"True"] * 6


def test_a_request_inside_a_step_of_another_hands_the_other_back_its_executor():
    inner = CommonPoolMiddleware(serving([b"inner"]))

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        inner(new_environ(), lambda *_: None)
        yield str(current_executor() is environ[KEY]).encode()

    assert ask_directly(CommonPoolMiddleware(app)).body == b"True"


@pytest.mark.parametrize("error", [None, KeyError("wrong"), PoolSaturated("full"), SystemExit()])
def test_after_a_request_nothing_of_it_is_current(error):
    outside = current_executor()

    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        if error is not None:
            raise error
        return []

    with contextlib.suppress(KeyError, SystemExit):
        CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    assert current_executor() is outside


def test_requests_at_the_same_time_have_an_executor_each():
    meeting = threading.Barrier(8, timeout=10)
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        meeting.wait()
        seen.append((environ[KEY], current_executor()))
        return []

    served = CommonPoolMiddleware(app)
    threads = [threading.Thread(target=ask_directly, args=(served,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(executor) for executor, _ in seen}) == 8
    assert all(of_environ is of_context for of_environ, of_context in seen)


def test_an_application_wrapped_twice_has_one_executor_for_both(way):
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        outer = environ["test.outer"]
        yield str(current_executor() is environ[KEY] is outer).encode()
        yield str(has_ended(outer)).encode()

    inner = CommonPoolMiddleware(app)

    def between(environ: Any, start_response: Any) -> Any:
        environ["test.outer"] = environ[KEY]
        return inner(environ, start_response)

    assert way.ask(between).body == b"TrueFalse"


def test_a_request_sent_again_with_the_same_environ_is_a_request_like_the_first():
    """As layers do that try again what failed: what the first attempt left is in environ."""
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        seen.append((current_executor() is environ[KEY], has_ended(environ[KEY])))
        return []

    served = CommonPoolMiddleware(app)
    environ = new_environ()
    served(environ, lambda *_: None)
    served(environ, lambda *_: None)
    assert seen == [(True, False), (True, False)]
