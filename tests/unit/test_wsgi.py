"""CommonPoolMiddleware is correct WSGI for any application; its requests end with the response."""

from __future__ import annotations

import contextlib
import gc
import io
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from commonpool import (
    CommonPoolMiddleware,
    DeadlineExceeded,
    OwnerExecutor,
    PoolConfig,
    PoolSaturated,
    TaskCancelled,
    current_executor,
    run_in_parallel,
    testing,
)
from tests.helpers import Gate, wait_until

KEY = "commonpool.executor"
TEXT = [("Content-Type", "text/plain")]

# The three ways to send a request


class Answer:
    """What came out of one request."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.error: BaseException | None = None


def new_environ(method: str = "GET") -> dict[str, Any]:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    return environ


def ask_directly(app: Any, method: str = "GET") -> Answer:
    """A server in a few lines, as PEP 3333 describes it: headers go out with the first byte."""
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None and answer.body:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not answer.status, "started twice"
        answer.status, answer.headers = status, dict(headers)
        return write

    def write(data: bytes) -> None:
        answer.body += data

    try:
        body = app(new_environ(method), start_response)
        try:
            for chunk in body:
                write(chunk)
            assert answer.status, "never started"
        finally:
            if hasattr(body, "close"):
                body.close()
    except AssertionError:
        raise
    except Exception as error:
        answer.error = error
    return answer


def ask_for_real(app: Any, method: str = "GET") -> Answer:
    """wsgiref's own server, with its validator on both sides of the middleware."""
    answer = Answer()

    class Handler(ServerHandler):
        def log_exception(self, exc_info: Any) -> None:
            answer.error = exc_info[1]

    class RequestHandler(WSGIRequestHandler):
        def handle(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            self.parse_request()
            handler = Handler(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
            handler.request_handler = self
            handler.run(self.server.get_app())

        def log_message(self, *_: Any) -> None:
            pass

    with make_server("127.0.0.1", 0, validator(app), handler_class=RequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with socket.create_connection(server.server_address) as client:
            client.sendall(f"{method} / HTTP/1.0\r\n\r\n".encode())
            received = b"".join(iter(lambda: client.recv(65536), b""))
        thread.join()
    if isinstance(answer.error, AssertionError):
        raise answer.error
    head, _, answer.body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    answer.status = lines[0].partition(" ")[2]
    answer.headers = dict(line.split(": ", 1) for line in lines[1:])
    return answer


class Way:
    """A way to put an application behind the middleware, and to send it a request."""

    def __init__(self, name: str) -> None:
        self.validates = name != "directly"
        self.send = ask_for_real if name == "through a real server" else ask_directly

    def wrap(self, app: Any) -> Any:
        if not self.validates:
            return CommonPoolMiddleware(app)
        return validator(CommonPoolMiddleware(validator(app)))

    def ask(self, app: Any, method: str = "GET") -> Answer:
        return self.send(self.wrap(app), method)


@pytest.fixture(params=["directly", "between validators", "through a real server"])
def way(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


class Closing:
    """A response that counts how often it is closed, and may raise at a step."""

    def __init__(self, *steps: bytes | BaseException) -> None:
        self.steps = iter(steps)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        step = next(self.steps)
        if isinstance(step, BaseException):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1


def serving(body: Iterable[bytes]) -> Callable[..., Any]:
    """An application that answers every request with this."""

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return body

    return app


def has_ended(executor: OwnerExecutor) -> bool:
    """Whether the request of this executor is over."""
    return repr(executor) == "<OwnerExecutor ended>"


# What the application finds


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


def test_an_application_that_does_not_use_it_starts_no_thread():
    before = threading.active_count()
    answer = ask_directly(CommonPoolMiddleware(serving(iter([b"plain"])), PoolConfig(deadline=60)))
    assert (answer.body, threading.active_count()) == (b"plain", before)


def test_an_app_that_cannot_be_called_is_refused_when_the_middleware_is_made():
    with pytest.raises(TypeError, match="app must be a WSGI application, not 'app'"):
        CommonPoolMiddleware("app")


# What the server gets


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


# PoolSaturated and DeadlineExceeded

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
    assert b"9 of 9" not in way.ask(raises_before_start(REFUSED[0][0])).body


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


def test_the_deadline_of_the_request_becomes_504(way, make_pool):
    make_pool(max_workers=1, deadline=0.05)
    with Gate() as gate:

        def app(environ: Any, start_response: Any) -> list[bytes]:
            future = environ[KEY].submit(gate)
            wait_until(lambda: gate.inside)
            start_response("200 OK", TEXT)
            return [future.result()]

        assert way.ask(app).status == "504 Gateway Timeout"


def test_a_deadline_that_passes_between_steps_cancels_what_the_next_one_asks_for():
    middleware = CommonPoolMiddleware(serving([]), PoolConfig(deadline=0.01))

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"first"
        wait_until(lambda: time.monotonic() > environ[KEY].deadline)
        yield from run_in_parallel([lambda: b"never"])

    middleware.app = app
    answer = ask_directly(middleware)
    assert answer.body == b"first"
    assert isinstance(answer.error, DeadlineExceeded)


def test_the_deadline_counts_from_the_beginning_of_each_request():
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        seen.append(environ[KEY].deadline - time.monotonic())
        return []

    served = CommonPoolMiddleware(app, PoolConfig(deadline=60))
    for _ in range(2):
        served(new_environ(), lambda *_: None)
    assert all(59 < left <= 60 for left in seen)


def test_the_deadline_is_that_of_the_pool_that_there_is_now():
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        seen.append(environ[KEY].deadline - time.monotonic())
        return []

    served = CommonPoolMiddleware(app)
    served(new_environ(), lambda *_: None)
    testing.reset()
    CommonPoolMiddleware(app, PoolConfig(deadline=60))
    served(new_environ(), lambda *_: None)
    assert 59 < seen[1] <= 60


# The end of the request


class Forgetful:
    """An application that submits two tasks to one worker, and waits for neither."""

    def __init__(self, body: Iterable[bytes] | None = None) -> None:
        self.gate = Gate()
        self.body = body
        self.futures: list[Any] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        self.executor = environ[KEY]
        self.futures = [self.executor.submit(self.gate)]
        wait_until(lambda: self.gate.inside)
        self.futures.append(self.executor.submit(int))
        return Closing(b"1", b"2") if self.body is None else self.body


@pytest.fixture
def forgetful() -> Iterator[Forgetful]:
    app = Forgetful()
    yield app
    app.gate.open()


def close_it(body: Any) -> None:
    body.close()


def exhaust_it(body: Any) -> None:
    """An outer layer that never calls close."""
    assert list(body) == [b"1", b"2"]


@pytest.mark.parametrize("finish", [close_it, exhaust_it])
def test_at_its_end_unstarted_tasks_are_cancelled_and_started_ones_abandoned(
    make_pool, forgetful, finish
):
    pool = make_pool(max_workers=1)
    body = CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None)
    assert (pool.stats().queued, pool.stats().cancelled) == (1, 0)

    finish(body)

    stats = pool.stats()
    assert (stats.queued, stats.cancelled, stats.abandoned) == (0, 1, 1)
    started, unstarted = forgetful.futures
    assert unstarted.cancelled()
    with pytest.raises(TaskCancelled, match="The request ended first"):
        started.result()
    forgetful.gate.open()
    wait_until(lambda: pool.stats().abandoned == pool.stats().busy == 0)


@pytest.mark.parametrize("body", [[b"list"], [], (b"tuple",)])
def test_a_response_without_code_ends_the_request_when_it_is_returned(make_pool, forgetful, body):
    pool = make_pool(max_workers=1)
    forgetful.body = body
    CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None)
    assert (pool.stats().cancelled, pool.stats().abandoned) == (1, 1)


@pytest.mark.parametrize("error", [KeyError("wrong"), PoolSaturated("full"), SystemExit(1)])
def test_an_error_in_a_step_ends_the_request_before_it_is_closed(make_pool, forgetful, error):
    pool = make_pool(max_workers=1)
    forgetful.body = Closing(b"1", error)
    body = iter(CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None))
    next(body)
    with pytest.raises(type(error)):
        next(body)
    assert (pool.stats().cancelled, pool.stats().abandoned) == (1, 1)


@pytest.mark.parametrize("error", [KeyError("wrong"), PoolSaturated("full"), SystemExit(1)])
def test_an_error_of_the_application_ends_the_request(make_pool, forgetful, error):
    pool = make_pool(max_workers=1)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        forgetful(environ, start_response)
        raise error

    with contextlib.suppress(KeyError, SystemExit):
        CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    assert (pool.stats().cancelled, pool.stats().abandoned) == (1, 1)


def test_between_steps_the_request_lives(make_pool, forgetful):
    pool = make_pool(max_workers=1)
    body = CommonPoolMiddleware(forgetful)(new_environ(), lambda *_: None)
    next(iter(body))
    assert (pool.stats().queued, pool.stats().cancelled, pool.stats().abandoned) == (1, 0, 0)
    forgetful.gate.open()
    assert forgetful.futures[1].result() == 0
    body.close()


def test_after_its_end_what_is_submitted_runs_at_once_where_it_is_submitted():
    executors = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        executors.append(environ[KEY])
        return []

    CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    future = executors[0].submit(threading.get_ident)
    assert future.done()
    assert future.result() == threading.get_ident()


def test_background_work_goes_on_after_the_response(way, make_pool):
    pool = make_pool(max_workers=1)
    futures = []
    with Gate() as gate:

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", TEXT)
            futures.extend(environ[KEY].background(gate, n) for n in range(2))
            return [b"at once"]

        assert way.ask(app).body == b"at once"
        assert pool.stats().cancelled == 0
        gate.open()
        assert [future.result() for future in futures] == [0, 1]


def test_background_work_does_not_run_as_the_request_that_sent_it():
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        same = environ[KEY].background(lambda: current_executor() is environ[KEY]).result()
        return [str(same).encode()]

    assert ask_directly(CommonPoolMiddleware(app)).body == b"False"


def test_a_response_that_is_dropped_without_close_leaves_nothing_behind(make_pool):
    pool = make_pool(max_workers=1)
    executors = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        executors.append(weakref.ref(environ[KEY]))
        environ[KEY].submit(int)
        yield b"first"

    body = CommonPoolMiddleware(app)(new_environ(), lambda *_: None)
    next(iter(body))
    del body
    wait_until(lambda: pool.stats().busy == pool.stats().queued == 0)
    gc.collect()
    assert executors[0]() is None
